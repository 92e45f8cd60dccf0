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
    )
