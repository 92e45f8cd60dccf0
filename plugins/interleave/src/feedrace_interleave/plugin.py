"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="scheduler",
        name="interleaved",
        target="feedrace_interleave.scheduler:InterleavedScheduler",
        config="feedrace_interleave.config:InterleavedSchedulerConfig",
        summary="Training, paused at intervals for evaluations on streams of their own.",
        capabilities=["callbacks"],
    )
