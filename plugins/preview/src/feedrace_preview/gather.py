"""What a preview shows, gathered from a pipeline and its first batches."""

import itertools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import feedrace
from feedrace.plugin import TRAIN, FeedraceError, all_records, clipped, leaves, protocols, registry

ROWS = 12  # of the first batch that are shown
_POINTS = 2000  # of the picture of the order
_WHOLE = 200_000  # positions up to which an epoch's order is computed whole
_STEPS = 5000  # of the schedule that are drawn
_WARM = 4  # batches before the time is taken

Fields = dict[str, NDArray[Any]]


@attrs.frozen(kw_only=True)
class Part:
    """One component of the pipeline.

    path: in the config. place: "record", "host", "device", or "" for what is no stage.
    config: its fields that differ from their defaults. details: sentences of its own.
    """

    path: str
    kind: str
    place: str
    name: str
    dist: str
    config: Mapping[str, str]
    details: list[str]


@attrs.frozen(kw_only=True, eq=False)
class Point:
    """What there is at one point of the way: the spec, and some rows of the first batch.

    after: the name of the stage before it, or of the source. spec: of a field, in words.
    problem: why there is no batch here, if there is none.
    """

    after: str
    spec: Mapping[str, str]
    fields: Fields
    problem: str = ""


@attrs.frozen(kw_only=True, eq=False)
class Stream:
    """One stream: its numbers in a line, its points, and the records of the first batch.

    order: int64 (points, 2), positions in the first epoch and the records there.
    """

    name: str
    summary: str
    records: NDArray[np.int64]
    points: list[Point]
    order: NDArray[np.int64]


@attrs.frozen(kw_only=True, eq=False)
class Facts:
    """All that a preview shows.

    schedule: (stream, update) of the first steps; empty if there is one stream. timeline: lines.
    seconds: by part of the work, while `batches` batches were served.
    """

    title: str
    versions: Mapping[str, str]
    parts: list[Part]
    streams: list[Stream]
    schedule: list[tuple[str, int]]
    timeline: list[str]
    seconds: Mapping[str, float]
    batches: int
    records_per_second: float


def gather(path: str, seconds: float) -> Facts:
    """Build the pipeline of a config file, read some batches, and return what there is to show.

    seconds: how long batches are served to see where the time goes. Raises as `feedrace.load`.
    """
    pipeline = feedrace.load(path)
    start = pipeline.get_state()
    parts = [_part(place, kind, value) for place, (kind, value) in pipeline.components().items()]
    firsts = _first_steps(pipeline)
    streams = [_stream(pipeline, name, firsts.get(name)) for name in pipeline.plans]
    scheduler = pipeline.scheduler
    timeline = (
        scheduler.timeline(pipeline.plans) if protocols.provides(scheduler, protocols.Drawn) else []
    )
    pipeline.set_state(start)
    spent, batches, rate = _timed(pipeline, seconds)
    return Facts(
        title=Path(path).name,
        versions={part.dist.split()[0]: part.dist.split()[-1] for part in parts},
        parts=parts,
        streams=streams,
        schedule=_schedule(pipeline) if len(streams) > 1 else [],
        timeline=timeline,
        seconds=spent,
        batches=batches,
        records_per_second=rate,
    )


def _part(path: str, kind: str, value: Any) -> Part:
    component = registry.component_of(kind, value)
    described = registry.describe(kind, value)
    return Part(
        path=path,
        kind=kind,
        place=protocols.place_of(value) if kind == "stage" else "",
        name=component.reference,
        dist=f"{component.dist} {component.version}",
        config={key: clipped(v, 60) for key, v in described.items() if key != "use"},
        details=list(value.details()) if protocols.provides(value, protocols.Detailed) else [],
    )


def _first_steps(pipeline: Any) -> dict[str, Any]:
    """Return the first step of each stream that comes within some steps."""
    found: dict[str, Any] = {}
    with pipeline.steps() as steps:
        for number, step in enumerate(steps):
            found.setdefault(step.stream, step)
            if len(found) == len(pipeline.plans) or number >= _STEPS:
                break
    return found


def _stream(pipeline: Any, name: str, first: Any) -> Stream:
    plan = pipeline.plans[name]
    epochs = "endless" if plan.epochs is None else f"epochs in a pass: {plan.epochs}"
    records = np.empty(0, np.int64) if first is None else np.asarray(first.indices)
    return Stream(
        name=name,
        summary=f"{plan.records_per_epoch:,} records an epoch, {epochs}",
        records=records[:ROWS],
        points=list(_points(pipeline, name, first)),
        order=_order(plan),
    )


def _points(pipeline: Any, name: str, last: Any) -> Iterator[Point]:
    """Yield what there is after the source, and after each stage of the train stream.

    Keys come from the number of a stage and the position of a record, so a pipeline with the first
    stages alone makes what these stages make in the whole one.
    """
    found = pipeline.components()
    prefix = "" if name == TRAIN else f"{name}."
    _, source = found[f"{prefix}source"]
    if last is not None:
        numbers = np.asarray(last.indices).reshape(-1)[:ROWS]
        yield Point(
            after=_name("source", source),
            spec=_spec(source.element_spec()),
            fields=_rows(source.fetch(numbers)),
        )
    stages = [value for path, (_, value) in found.items() if path.startswith(f"{prefix}stages[")]
    if name == TRAIN and last is not None:
        for count in range(1, len(stages)):
            yield _after(pipeline, stages[:count], np.asarray(last.indices).reshape(-1)[:ROWS])
    if last is not None:
        what = _name("stage", stages[-1]) if stages else "batches"
        yield _point(what, pipeline.batch_spec(name), last.batch)


def _after(pipeline: Any, stages: list[Any], numbers: NDArray[np.int64]) -> Point:
    """Return what there is after the first stages: a batch or, if they make none, some records."""
    config, after = pipeline.config, _name("stage", stages[-1])
    named = config["stages"][: len(stages)]
    try:
        shorter = feedrace.build({**config, "stages": named, "scheduler": {"use": "single"}})
        with shorter.steps() as steps:
            return _point(after, shorter.batch_spec(), next(steps).batch)
    except FeedraceError as error:
        if any(protocols.place_of(stage) != "record" for stage in stages):
            return Point(after=after, spec={}, fields={}, problem=clipped(str(error), 300))
    every = all_records(config["source"], named, seed=config.get("seed"))
    records = list(every.sample(numbers))  # what random stages draw differs from that of batches
    fields = {name: _objects([one[name] for one in records]) for name in records[0]}
    return Point(after=after, spec=_spec(every.spec), fields=fields)


def _objects(values: list[Any]) -> NDArray[Any]:
    """Return values that may differ in shape as an array of objects."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _point(after: str, spec: Any, batch: Any) -> Point:
    return Point(after=after, spec=_spec(spec), fields=_rows(batch))


def _name(kind: str, value: Any) -> str:
    return str(registry.component_of(kind, value).name)


def _spec(spec: Any) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves(spec)}


def _rows(batch: Any) -> Fields:
    return {name: np.asarray(leaf[:ROWS]) for name, leaf in leaves(batch)}


def _order(plan: Any) -> NDArray[np.int64]:
    """Return some positions of the first epoch, and the records there."""
    length = plan.records_per_epoch
    if length <= _WHOLE:
        every = np.asarray(plan.sampler.indices(0, length))
        positions = np.unique(np.linspace(0, length - 1, _POINTS).astype(np.int64))
        records = every.reshape(length, -1)[positions, 0]
    else:
        positions = np.linspace(0, length - 1, _POINTS // 4).astype(np.int64)
        records = np.array(
            [np.asarray(plan.sampler.indices(p, p + 1)).reshape(-1)[0] for p in positions.tolist()]
        )
    return np.stack([positions, records], axis=1)


def _schedule(pipeline: Any) -> list[tuple[str, int]]:
    """Return (stream, update) of the first steps, without reading a record."""
    planned = pipeline.scheduler.steps({"pass": 0}, pipeline.plans)
    return [(step.stream, step.update or 0) for step in itertools.islice(planned, _STEPS)]


def _timed(pipeline: Any, seconds: float) -> tuple[dict[str, float], int, float]:
    """Serve batches for some seconds; return the seconds by part, the batches and records/s."""
    batches, records, before = 0, 0, pipeline.stats()["seconds"]
    began = time.perf_counter()
    with pipeline.steps() as steps:
        for step in steps:
            batches, records = batches + 1, records + len(step.indices)
            if batches == _WARM:  # compiled, and the workers have started
                began, records = time.perf_counter(), 0
                before = pipeline.stats()["seconds"]
            elif time.perf_counter() - began > seconds:
                break
    took = time.perf_counter() - began
    spent = {k: v - before.get(k, 0.0) for k, v in pipeline.stats()["seconds"].items()}
    spent = {name: float(value) for name, value in spent.items() if value > 1e-4}
    return spent, batches, records / took if records else 0.0
