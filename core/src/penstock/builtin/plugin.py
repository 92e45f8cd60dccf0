"""Declarations of the built-in components."""

from collections.abc import Iterator

from penstock.component import Component, hookimpl

PENSTOCK_API = 1


@hookimpl
def penstock_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="memory",
        target="penstock.builtin.memory:MemorySource",
        config="penstock.builtin.config:MemorySourceConfig",
        summary="Arrays held in memory, on the device.",
        capabilities=["on-device"],
    )
    yield Component(
        kind="sampler",
        name="sequential",
        target="penstock.builtin.sequential:SequentialSamplerModule",
        config="penstock.builtin.config:SequentialSamplerConfig",
        summary="Records in the order they are stored.",
        capabilities=["exactly-once"],
    )
    yield Component(
        kind="scheduler",
        name="single",
        target="penstock.builtin.single:SingleScheduler",
        summary="The train stream alone.",
    )
    yield Component(
        kind="stage",
        name="rescale",
        target="penstock.builtin.stages:Rescale",
        config="penstock.builtin.config:RescaleConfig",
        summary="A field times a scale plus an offset, as float32.",
    )
    yield Component(
        kind="stage",
        name="cast",
        target="penstock.builtin.stages:Cast",
        config="penstock.builtin.config:CastConfig",
        summary="A field in another dtype.",
    )
    yield Component(
        kind="stage",
        name="one-hot",
        target="penstock.builtin.stages:OneHot",
        config="penstock.builtin.config:OneHotConfig",
        summary="An integer field as one-hot vectors.",
    )
    yield Component(
        kind="stage",
        name="select",
        target="penstock.builtin.stages:Select",
        config="penstock.builtin.config:SelectConfig",
        summary="Only the named fields.",
    )
    yield Component(
        kind="stage",
        name="flip",
        target="penstock.builtin.stages:Flip",
        config="penstock.builtin.config:FlipConfig",
        summary="A field mirrored along one axis, at random record by record.",
        capabilities=["stochastic"],
    )
