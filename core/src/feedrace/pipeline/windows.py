"""Pipelines with a batcher that groups records: windows are read ahead, and batches are scheduled.

The scheduler pulls batches from plans that read. Which windows follow is a pure function, so that
workers load them ahead, whatever the scheduler decides. The counters of a state have, besides the
scheduler's own, a `feedrace.plan.windows.Place` for each stream of windows that has begun: of the
train stream ("train.batch", "train.window", ...), and of the callbacks, by number ("0.batch", ...).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.config.fields import MAX_INT
from feedrace.errors import StateError, clipped
from feedrace.host.timing import Clock
from feedrace.host.workers import Workers
from feedrace.pipeline.executors import noted
from feedrace.pipeline.streams import Parts, Stream
from feedrace.plan.steps import TRAIN, Step, StreamPlan
from feedrace.plan.windows import Batches, Place, Read, WindowPlan, counted_windows, unread

_FIELDS = tuple(field.name for field in attrs.fields(Place))
Plans = dict[str, StreamPlan | WindowPlan]


@attrs.frozen(kw_only=True)
class Window:
    """A window of records, as workers and messages take it; how many updates it makes shows later.

    number: of the window in its stream, from 0.
    """

    stream: str
    epoch: int
    number: int
    indices: NDArray[np.int64]
    start: int
    update: None = None


def planned(
    parts: Parts, counters: Mapping[str, int], workers: Workers, clock: Clock
) -> Iterator[Step]:
    """Yield the steps that are left of the pass; those of windows have a `Made` as their batch."""
    own, plans = _plans(parts, counters, lambda name: _reading(parts.streams[name], workers, clock))
    labels = _labels(parts)
    begun = {name for name, label in labels.items() if f"{label}.batch" in counters}
    places = {name: plan.place for name, plan in _windowed(plans) if name in {TRAIN, *begun}}
    for step in parts.scheduler.steps(own, plans):
        plan = plans[step.stream]
        if isinstance(plan, WindowPlan):
            step.batch, places[step.stream] = plan.take(step)
        for name, other in _windowed(plans):  # what is over need not be known any longer
            if other.is_over and name not in (step.stream, TRAIN):
                places.pop(name, None)
        step.after = {**step.after, **_counters(labels, places)}
        yield step


def first_of(parts: Parts, counters: Mapping[str, int]) -> Iterator[Step]:
    """Yield the steps that are left, of which the first shows whether there is one; read nothing.

    Raises `StateError` for counters that are no place in the schedule.
    """
    own, plans = _plans(parts, counters, lambda name: unread)
    steps: Iterator[Step] = parts.scheduler.steps(own, plans)
    return steps


def next_pass(parts: Parts, counters: Mapping[str, int]) -> dict[str, int]:
    """Return the counters of the start of the next pass, which goes on where this one ended."""
    begun = {"pass": counters["pass"] + 1}
    _, plans = _plans(parts, counters, lambda name: unread)
    train = plans[TRAIN]
    if not isinstance(train, WindowPlan):
        return begun
    update = {name: n for name, n in counters.items() if name == "update"}
    place = attrs.evolve(train.place, start=train.place.batch)
    return {**begun, **update, **_counters(_labels(parts), {TRAIN: place})}


def ends_epoch(parts: Parts, step: Step) -> bool:
    """Return whether a step ends an epoch of its stream, in a pipeline with windows or without."""
    inside = step.after.get(f"{_labels(parts)[step.stream]}.inside", 0)
    return not inside and parts.streams[step.stream].plan.ends_epoch(step.start)


def _reading(stream: Stream, workers: Workers, clock: Clock) -> Read:
    """Return a function that reads windows of a stream, some ahead, and makes their batches."""

    def read(plan: StreamPlan, first: int, last: int | None) -> Iterator[tuple[int, int, Batches]]:
        windows = (
            Window(
                stream=plan.name,
                epoch=start // plan.records_per_epoch,
                number=number,
                indices=indices,
                start=start,
            )
            for number, start, indices in plan.batches(first, last)
        )
        for window, load in workers.ahead(windows):
            yield window.number, window.start, batches(window, load)

    def batches(window: Window, load: Any) -> Batches:
        clock.step = window
        with noted(window):
            for made in stream.host.batches(load(), window.indices, window.start, clock):
                yield window.indices[made.rows], made

    return read


def _plans(
    parts: Parts, counters: Mapping[str, int], read: Callable[[str], Read]
) -> tuple[dict[str, int], Plans]:
    """Return the scheduler's counters, and the plans, those of windows as the counters have them.

    Raises `StateError` for counters that are no place.
    """
    own, plans = dict(counters), dict(parts.plans)
    for name, label in _labels(parts).items():
        plan = plans[name]
        if not isinstance(plan, WindowPlan):
            continue
        keys = {f"{label}.{field}": field for field in _FIELDS}
        saved = {field: own.pop(key) for key, field in keys.items() if key in own}
        if name == TRAIN and not saved and own != {"pass": 0}:
            raise counted_windows(name)
        place = Place(**saved)
        started = name != TRAIN or own["pass"] > 0  # then windows of other passes count, too
        fits = (started or place.batch >= place.window + place.inside) and (
            place.records <= place.sample <= plan.windows.samples(place.window + 1)
            and max(place.start, place.inside) <= place.batch
            and plan.windows.positions(place.window)[1] <= MAX_INT
        )
        if name == TRAIN and own.get("update", place.batch) != place.batch:
            fits = False
        if not fits or len(saved) not in (0, len(_FIELDS)):
            raise StateError(f"{clipped(dict(counters))} is not a place in stream {name!r}")
        plans[name] = attrs.evolve(plan, read=read(name), number=own["pass"], place=place)
    return own, plans


def _windowed(plans: Mapping[str, StreamPlan | WindowPlan]) -> Iterator[tuple[str, WindowPlan]]:
    return ((name, plan) for name, plan in plans.items() if isinstance(plan, WindowPlan))


def _counters(labels: Mapping[str, str], places: Mapping[str, Place]) -> dict[str, int]:
    return {
        f"{labels[name]}.{field}": getattr(place, field)
        for name, place in places.items()
        for field in _FIELDS
    }


def _labels(parts: Parts) -> dict[str, str]:
    """Return what stands for each stream in counters: short, whatever the names of callbacks."""
    return {name: name if name == TRAIN else str(i) for i, name in enumerate(parts.plans, -1)}
