"""What a preview shows, gathered from a pipeline and its first batches."""

import itertools
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

import feedrace
from feedrace.plugin import TRAIN, FeedraceError, clipped, protocols, registry
from feedrace_preview.points import BATCHING, ROWS, WHOLE, Point, batch_size_of, points_of

_IN_CODE = "registered in code"  # of a component that no dist brings
_POINTS = 2000  # of the picture of the order
_STEPS = 5000  # of the schedule that are drawn
_WARM = 4  # batches before the time is taken


@attrs.frozen(kw_only=True)
class Part:
    """One component of the pipeline.

    path: in the config of the stream, "" if it is not in it. stream: "" if it belongs to none.
    summary: what it does, in a sentence. place: "record", "host", "device", or "" for what is no
        stage.
    config: its fields that differ from their defaults. details: sentences of its own.
    """

    path: str
    stream: str
    kind: str
    summary: str
    place: str
    name: str
    dist: str
    config: Mapping[str, str]
    details: list[str]


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
    seconds: by part of the work, while `batches` batches were served. problem: the error that ended
        this, with its record; "" if there was none.
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
    problem: str


def gather(path: str, seconds: float) -> Facts:
    """Build the pipeline of a config file, read some batches, and return what there is to show.

    seconds: how long batches are served to see where the time goes. Raises as `feedrace.load`, and
    as the pipeline does if it makes no first batch; later errors become the `problem`.
    """
    pipeline = feedrace.load(path)
    start = pipeline.get_state()
    parts = [_part(place, kind, value) for place, (kind, value) in pipeline.components().items()]
    parts += _default_batchers(parts, list(pipeline.plans))
    firsts, early = _first_steps(pipeline)
    streams = [_stream(pipeline, name, firsts.get(name)) for name in pipeline.plans]
    scheduler = pipeline.scheduler
    timeline = (
        scheduler.timeline(pipeline.plans) if protocols.provides(scheduler, protocols.Drawn) else []
    )
    pipeline.set_state(start)
    spent, batches, rate, late = _timed(pipeline, seconds)
    return Facts(
        title=Path(path).name,
        versions=dict(part.dist.split() for part in parts if part.dist != _IN_CODE),
        parts=parts,
        streams=streams,
        schedule=_schedule(pipeline) if len(streams) > 1 else [],
        timeline=timeline,
        seconds=spent,
        batches=batches,
        records_per_second=rate,
        problem=late or early,
    )


def _part(path: str, kind: str, value: Any) -> Part:
    component = registry.component_of(kind, value)
    described = registry.describe(kind, value)
    stream, _, inner = path.rpartition(".")
    return Part(
        path=inner,
        stream="" if kind == "scheduler" else stream or TRAIN,
        kind=kind,
        summary=component.summary,
        place=protocols.place_of(value) if kind == "stage" else "",
        name=component.reference,
        dist=f"{component.dist} {component.version}" if component.dist else _IN_CODE,
        config={key: clipped(v, 60) for key, v in described.items() if key != "use"},
        details=list(value.details()) if protocols.provides(value, protocols.Detailed) else [],
    )


def _default_batchers(parts: Sequence[Part], streams: Sequence[str]) -> list[Part]:
    """Return the core's own batching as a part of each stream that has no batcher."""
    having = {part.stream for part in parts if part.kind == "batcher"}
    core = f"feedrace {metadata.version('feedrace')}"
    what = "Records stacked in order; a short last batch is padded and masked."
    return [
        Part(path="", stream=name, kind="batcher", summary=what, place="", name=BATCHING,
             dist=core, config={}, details=[])
        for name in streams if name not in having
    ]  # fmt: skip


def _first_steps(pipeline: Any) -> tuple[dict[str, Any], str]:
    """Return the first step of each stream that comes within some steps, and what ended them."""
    found: dict[str, Any] = {}
    try:
        with pipeline.steps() as steps:
            for number, step in enumerate(steps):
                found.setdefault(step.stream, step)
                if len(found) == len(pipeline.plans) or number >= _STEPS:
                    break
    except (FeedraceError, OSError) as error:
        if not found:
            raise
        return found, _in_words(error)
    return found, ""


def _in_words(error: Exception) -> str:
    """Return an error with its notes, which name the record and its file."""
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def _stream(pipeline: Any, name: str, first: Any) -> Stream:
    plan = pipeline.plans[name]
    passes = "endless" if plan.epochs is None else f"epochs in a pass: {plan.epochs}"
    size = "" if first is None else f", batches of {batch_size_of(first)}"
    records = np.empty(0, np.int64) if first is None else np.asarray(first.indices)
    return Stream(
        name=name,
        summary=f"{plan.records_per_epoch:,} records an epoch{size}, {passes}",
        records=records[:ROWS],
        points=[] if first is None else list(points_of(pipeline, name, first)),
        order=_order(plan),
    )


def _order(plan: Any) -> NDArray[np.int64]:
    """Return some positions of the first epoch, and the records there."""
    length = plan.records_per_epoch
    if length <= WHOLE:
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


def _timed(pipeline: Any, seconds: float) -> tuple[dict[str, float], int, float, str]:
    """Serve batches for some seconds; return the seconds by part, the batches and records/s.

    The last value is the error that ended it earlier, "" if there was none.
    """
    problem, batches, records, before = "", 0, 0, pipeline.stats()["seconds"]
    began = time.perf_counter()
    try:
        with pipeline.steps() as steps:
            for step in steps:
                batches, records = batches + 1, records + len(step.indices)
                if batches == _WARM:  # compiled, and the workers have started
                    began, records = time.perf_counter(), 0
                    before = pipeline.stats()["seconds"]
                elif time.perf_counter() - began > seconds:
                    break
    except (FeedraceError, OSError) as error:
        problem = _in_words(error)
    took = time.perf_counter() - began
    spent = {k: v - before.get(k, 0.0) for k, v in pipeline.stats()["seconds"].items()}
    spent = {name: float(value) for name, value in spent.items() if value > 1e-4}
    return spent, batches, records / took if records else 0.0, problem
