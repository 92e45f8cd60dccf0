"""What there is at each point of the way of a stream: specs, and rows of its first batch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import feedrace
from feedrace.plugin import (
    TRAIN,
    VALID_MASK,
    FeedraceError,
    all_records,
    clipped,
    leaves,
    protocols,
    registry,
)

ROWS = 12  # of the first batch that are shown
WHOLE = 200_000  # positions up to which an epoch's order is computed whole
BATCHING = "batching"  # what stacks records if there is no batcher

Fields = dict[str, NDArray[Any]]


@attrs.frozen(kw_only=True, eq=False)
class Point:
    """What there is at one point of the way: the spec, and some rows of the first batch.

    after: the name of the stage before it, of the batcher or of the source. place: what there is,
        in words. spec: of a field, in words. records: the number of the record in each row; empty
        if rows hold several. names: of the classes that the field `label` numbers. bytes_from: of a
        field that the stage `byte-tokens` makes, the id of byte 0.
    problem: why there is no batch here, if there is none.
    """

    after: str
    place: str
    spec: Mapping[str, str]
    fields: Fields
    records: NDArray[np.int64]
    names: Sequence[str] = ()
    bytes_from: Mapping[str, int] = attrs.field(factory=dict)
    problem: str = ""


def batch_size_of(first: Any) -> int:
    """Return how many rows the batch of a step has."""
    return len(first.batch[VALID_MASK])


def points_of(pipeline: Any, name: str, first: Any) -> Iterator[Point]:
    """Yield what there is after the source, each record stage, the batcher and each other stage.

    Keys come from the number of a stage and the position of a record, so a pipeline with the first
    stages alone makes what these stages make in the whole one. Its other parts are made anew by
    name, for live ones may hold state; the source is shared, for what it reads does not depend on
    what was read before.
    """
    plan, prefix = pipeline.plans[name], "" if name == TRAIN else f"{name}."
    found = {path[len(prefix) :]: part for path, part in pipeline.components().items()
             if path.startswith(prefix)}  # fmt: skip
    _, source = found["source"]
    stages = [value for path, (_, value) in found.items() if path.startswith("stages[")]
    named = [registry.describe("stage", stage) for stage in stages]
    on_record = sum(protocols.place_of(stage) == "record" for stage in stages)
    seed = pipeline.config.get("seed")
    epoch = _Epoch(source, plan.sampler, plan.records_per_epoch)
    positions = _positions(plan, first)
    names, bytes_from = _classes(source), dict(_bytes_from(stages))
    for count in range(on_record + 1):
        every = all_records(epoch, named[:count], seed=seed)
        made = [(p, row) for p in positions.tolist() for row in every.sample(np.array([p]))]
        fields = {key: _column([row[key] for _, row in made]) for key, _ in leaves(every.spec)}
        after = _name("stage", stages[count - 1]) if count else _name("source", source)
        place = "each record" if count else "records as they are read"
        records = _records_at(epoch.sampler, np.array([p for p, _ in made], np.int64))
        yield Point(
            after=after,
            place=place,
            spec=_spec(every.spec),
            fields=fields,
            records=records,
            names=names,
            bytes_from=bytes_from,
        )
    config = {
        "source": source,
        "batch_size": batch_size_of(first),
        "seed": seed,
        "workers": 0,
        **{k: registry.describe(k, found[k][1]) for k in ("sampler", "batcher") if k in found},
    }
    batcher = _name("batcher", found["batcher"][1]) if "batcher" in found else BATCHING
    for count in range(on_record, len(stages) + 1):
        is_batcher = count == on_record
        after = batcher if is_batcher else _name("stage", stages[count - 1])
        place = (
            "batches" if is_batcher else f"batches, on the {protocols.place_of(stages[count - 1])}"
        )
        if count == len(stages):
            spec, batch, problem = pipeline.batch_spec(name), first.batch, ""
        else:
            spec, batch, problem = _first_batch({**config, "stages": named[:count]})
        yield Point(
            after=after,
            place=place,
            spec=_spec(spec),
            fields=_rows(batch),
            records=_of_rows(batch, first),
            names=names,
            bytes_from=bytes_from,
            problem=problem,
        )


def _of_rows(batch: Any, first: Any) -> NDArray[np.int64]:
    """Return the record in each of the first rows of a batch; none if a row holds several."""
    records = np.asarray(first.indices)
    several = any(f"{name}_segmentation" in batch for name in batch)
    return np.empty(0, np.int64) if several else records[:ROWS]


def _first_batch(config: Mapping[str, Any]) -> tuple[Any, Any, str]:
    """Return the spec and the first batch of a pipeline, or why it makes none."""
    try:
        shorter = feedrace.build({key: value for key, value in config.items() if value is not None})
        with shorter.steps() as steps:
            return shorter.batch_spec(), next(steps).batch, ""
    except FeedraceError as error:
        return {}, {}, clipped(str(error), 300)


@attrs.frozen
class _Epoch:
    """A source whose records are those of another in the order of an epoch.

    Stages draw random numbers by position, so that record stages make of its records what they make
    in the pipeline.
    """

    source: Any
    sampler: Any
    length: int

    def __len__(self) -> int:
        return self.length

    def element_spec(self) -> Any:
        return self.source.element_spec()

    def fetch(self, indices: Any) -> Any:
        return self.source.fetch(_records_at(self.sampler, np.asarray(indices)))

    def invalid_rows(self, indices: Any) -> Any:
        if not protocols.provides(self.source, protocols.Skipping):
            return np.zeros(len(indices), bool)
        return self.source.invalid_rows(_records_at(self.sampler, np.asarray(indices)))


def _records_at(sampler: Any, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the record at each position; of a window the first."""
    found = [np.asarray(sampler.indices(p, p + 1)).reshape(-1)[0] for p in positions.tolist()]
    return np.array(found, np.int64)


def _positions(plan: Any, first: Any) -> NDArray[np.int64]:
    """Return the positions of the first records of a batch, in its order."""
    records = np.asarray(first.indices)
    if records.ndim > 1 or np.array_equal(
        _records_at(plan.sampler, np.arange(min(ROWS, len(records)))), records[:ROWS]
    ):
        return np.arange(min(ROWS, len(records)))
    # A batcher that groups by what is in the records takes them from anywhere in its window.
    epoch = np.asarray(plan.sampler.indices(0, min(plan.records_per_epoch, WHOLE))).reshape(-1)
    found = [np.flatnonzero(epoch == one)[:1] for one in records[:ROWS]]
    return np.concatenate([np.empty(0, np.int64), *found])


def _classes(source: Any) -> Sequence[str]:
    """Return the names of the classes that the source numbers in `label`, if it knows them."""
    if protocols.provides(source, protocols.Classed):
        return tuple(source.classes)
    if protocols.provides(source, protocols.Composed):
        known = {_classes(source.part(name)) for name in source.parts}
        return known.pop() if len(known) == 1 else ()
    return ()


def _bytes_from(stages: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """Yield the fields that the stage `byte-tokens` makes, each with the id of byte 0."""
    for stage in stages:
        if registry.component_of("stage", stage).reference == "text/byte-tokens":
            config = registry.describe("stage", stage)
            yield config.get("into") or config["field"], config.get("offset", 0)


def _column(values: list[Any]) -> NDArray[Any]:
    """Return the values of some records as one array, of objects if they differ in shape."""
    if all(isinstance(v, np.ndarray | np.generic | int | float) for v in values):
        arrays = [np.asarray(value) for value in values]
        if len({(array.shape, array.dtype) for array in arrays}) == 1:
            return np.stack(arrays)
    return _objects(values)


def _objects(values: list[Any]) -> NDArray[Any]:
    """Return values that may differ in shape as an array of objects."""
    made = np.empty(len(values), object)
    for i, value in enumerate(values):
        made[i] = value
    return made


def _name(kind: str, value: Any) -> str:
    return str(registry.component_of(kind, value).name)


def _spec(spec: Any) -> dict[str, str]:
    return {name: f"{_kind(leaf)}[{_sizes(leaf.shape)}]" for name, leaf in leaves(spec)}


def _sizes(shape: Sequence[int | None]) -> str:
    return ", ".join("?" if size is None else str(size) for size in shape)


def _kind(leaf: Any) -> str:
    return "text or bytes" if leaf.dtype == object else str(leaf.dtype)


def _rows(batch: Any) -> Fields:
    return {name: np.asarray(leaf[:ROWS]) for name, leaf in leaves(batch)}
