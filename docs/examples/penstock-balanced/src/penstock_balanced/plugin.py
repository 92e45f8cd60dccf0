"""What this plugin offers; imported whenever names are listed, so that it imports nothing heavy."""

from collections.abc import Iterator

from penstock import Component, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="sampler",
        name="balanced",
        target="penstock_balanced.balanced:BalancedSampler",
        config="penstock_balanced.config:BalancedConfig",
        summary="Each label equally often, or in given shares, whatever the data's own.",
        aliases=["class-balanced"],
        capabilities=["reshuffles"],
    )
