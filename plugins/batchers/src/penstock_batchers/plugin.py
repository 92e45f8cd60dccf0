"""Declarations of this plugin's components."""

from collections.abc import Iterator

from penstock import Component, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="batcher",
        name="default",
        target="penstock_batchers.default:DefaultBatcher",
        config="penstock_batchers.config:DefaultBatcherConfig",
        summary="Records stacked as they come; the last batch padded and masked.",
        capabilities=["every-record"],
    )
    yield Component(
        kind="batcher",
        name="bucket",
        target="penstock_batchers.bucket:BucketBatcher",
        config="penstock_batchers.config:BucketBatcherConfig",
        summary="Records of like length together, padded to few static lengths.",
        capabilities=["every-record", "windowed"],
    )
    yield Component(
        kind="batcher",
        name="pack",
        target="penstock_batchers.pack:PackBatcher",
        config="penstock_batchers.config:PackBatcherConfig",
        summary="Several sequences in each row, with segment ids, positions and masks.",
        capabilities=["windowed"],
    )
    yield Component(
        kind="batcher",
        name="multi-rate",
        target="penstock_batchers.multi_rate:MultiRateBatcher",
        config="penstock_batchers.config:MultiRateBatcherConfig",
        summary="Fields sampled at different rates, each with a window and mask of its own.",
        capabilities=["every-record", "windowed"],
    )
