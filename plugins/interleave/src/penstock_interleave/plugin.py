"""Declarations of this plugin's components."""

from collections.abc import Iterator

from penstock import Component, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="scheduler",
        name="interleaved",
        target="penstock_interleave.scheduler:InterleavedScheduler",
        config="penstock_interleave.config:InterleavedSchedulerConfig",
        summary="Training, paused at intervals for evaluations on streams of their own.",
        capabilities=["callbacks"],
    )
