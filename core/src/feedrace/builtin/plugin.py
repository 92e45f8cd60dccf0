"""Declarations of the built-in components."""

from collections.abc import Iterator

from feedrace.registry.component import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="memory",
        target="feedrace.builtin.memory:MemorySource",
        config="feedrace.builtin.config:MemorySourceConfig",
        summary="Arrays held in memory, on the device.",
        capabilities=["on-device"],
    )
    yield Component(
        kind="sampler",
        name="sequential",
        target="feedrace.builtin.sequential:SequentialSamplerModule",
        config="feedrace.builtin.config:SequentialSamplerConfig",
        summary="Records in the order they are stored.",
        capabilities=["exactly-once"],
    )
    yield Component(
        kind="scheduler",
        name="single",
        target="feedrace.plan.single:SingleScheduler",
        summary="The train stream alone.",
    )
    yield Component(
        kind="stage",
        name="rescale",
        target="feedrace.builtin.stages:Rescale",
        config="feedrace.builtin.config:RescaleConfig",
        summary="A field times a scale plus an offset, as float32.",
    )
    yield Component(
        kind="stage",
        name="cast",
        target="feedrace.builtin.stages:Cast",
        config="feedrace.builtin.config:CastConfig",
        summary="A field in another dtype.",
    )
    yield Component(
        kind="stage",
        name="one-hot",
        target="feedrace.builtin.stages:OneHot",
        config="feedrace.builtin.config:OneHotConfig",
        summary="An integer field as one-hot vectors.",
    )
    yield Component(
        kind="stage",
        name="select",
        target="feedrace.builtin.stages:Select",
        config="feedrace.builtin.config:SelectConfig",
        summary="Only the named fields.",
    )
    yield Component(
        kind="stage",
        name="flip",
        target="feedrace.builtin.stages:Flip",
        config="feedrace.builtin.config:FlipConfig",
        summary="A field mirrored along one axis, at random record by record.",
        capabilities=["stochastic"],
    )
