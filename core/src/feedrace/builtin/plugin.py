"""Declarations of the built-in components."""

from collections.abc import Iterator

from feedrace.registry.component import Component, hookimpl

FEEDRACE_API = 1

# Name, class, summary and capabilities of each stage in feedrace.builtin.stages.
_STAGES = (
    ("rescale", "Rescale", "A field times a scale plus an offset, as float32.", ()),
    ("cast", "Cast", "A field in another dtype.", ()),
    ("one-hot", "OneHot", "An integer field as one-hot vectors.", ()),
    ("select", "Select", "Only the named fields.", ()),
    ("flip", "Flip", "A field mirrored along one axis, for random records.", ("stochastic",)),
)


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
        kind="source",
        name="records",
        target="feedrace.builtin.records:RecordsSource",
        config="feedrace.builtin.config:RecordsSourceConfig",
        summary="Any object that gives records by number: a data set of torch or grain, a list.",
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
    for name, cls, summary, capabilities in _STAGES:
        yield Component(
            kind="stage",
            name=name,
            target=f"feedrace.builtin.stages:{cls}",
            config=f"feedrace.builtin.config:{cls}Config",
            summary=summary,
            capabilities=capabilities,
        )
