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
        capabilities=["exactly-once", "reshuffles"],
    )
    yield Component(
        kind="sampler",
        name="shuffle",
        target="penstock_samplers.shuffle:ShuffleSamplerModule",
        config="penstock_samplers.config:ShuffleSamplerConfig",
        summary="Every record once a pass, each pass in another order.",
        capabilities=["exactly-once", "reshuffles"],
    )
    yield Component(
        kind="sampler",
        name="range",
        target="penstock_samplers.range:RangeSamplerModule",
        config="penstock_samplers.config:RangeSamplerConfig",
        summary="Evenly spaced records.",
    )
    yield Component(
        kind="sampler",
        name="sliding-window",
        target="penstock_samplers.sliding_window:SlidingWindowSamplerModule",
        config="penstock_samplers.config:SlidingWindowSamplerConfig",
        summary="Windows of consecutive records.",
    )
    yield Component(
        kind="sampler",
        name="mixture",
        target="penstock_samplers.mixture:MixtureSamplerModule",
        config="penstock_samplers.config:MixtureSamplerConfig",
        summary="Several components in given shares, never more than one draw off.",
        capabilities=["reshuffles"],
    )
    yield Component(
        kind="sampler",
        name="block-shuffle",
        target="penstock_samplers.block_shuffle:BlockShuffleSamplerModule",
        config="penstock_samplers.config:BlockShuffleSamplerConfig",
        summary="Blocks permuted, and records inside windows of blocks.",
        capabilities=["exactly-once", "reshuffles"],
    )
