"""Declarations of this plugin's components."""

from collections.abc import Iterator

from penstock import Component, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="sampler",
        name="epoch-aware",
        target="penstock_samplers.epoch_aware:EpochAwareSamplerModule",
        config="penstock_samplers.config:EpochAwareSamplerConfig",
        summary="Every record once per epoch, reshuffled at each epoch boundary.",
    )
