"""What this plugin offers; imported whenever names are listed, so it imports nothing heavy."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="sampler",
        name="balanced",
        target="feedrace_balanced.balanced:BalancedSampler",
        config="feedrace_balanced.config:BalancedConfig",
        summary="Each label equally often, or in given shares.",
        aliases=["class-balanced"],
        capabilities=["reshuffles"],
    )
