"""Declarations of this plugin's components."""

from collections.abc import Iterator

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="batcher",
        name="default",
        target="feedrace_batchers.default:DefaultBatcher",
        config="feedrace_batchers.config:DefaultBatcherConfig",
        summary="Records stacked as they come; the last batch padded and masked.",
        capabilities=["every-record"],
    )
    yield Component(
        kind="batcher",
        name="bucket",
        target="feedrace_batchers.bucket:BucketBatcher",
        config="feedrace_batchers.config:BucketBatcherConfig",
        summary="Records of like length together, padded to few static lengths.",
        capabilities=["every-record", "windowed"],
    )
    yield Component(
        kind="batcher",
        name="pack",
        target="feedrace_batchers.pack:PackBatcher",
        config="feedrace_batchers.config:PackBatcherConfig",
        summary="Several sequences in each row, with segment ids, positions and masks.",
        capabilities=["windowed"],
    )
    yield Component(
        kind="batcher",
        name="multi-rate",
        target="feedrace_batchers.multi_rate:MultiRateBatcher",
        config="feedrace_batchers.config:MultiRateBatcherConfig",
        summary="Fields sampled at different rates, each with its own window and mask.",
        capabilities=["every-record", "windowed"],
    )
