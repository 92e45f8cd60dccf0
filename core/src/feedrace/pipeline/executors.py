"""The two executors: functions from planned steps to steps with batches.

`host_batches` takes records that workers loaded on the host, `device_batches` gathers records that
are on the device.
Which of them makes the batches of a stream is chosen once, when the pipeline is built. Both yield
each step with a function that makes the rest of its batch, the stages on the device: programs that
run on several hosts have to start in one order, and parameters of stages that are trained have to
be those of the last update, so that it may have to wait until the batch is asked for.
"""

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from feedrace.device.placement import as_in_this_thread
from feedrace.errors import DataError, StateError
from feedrace.host.loader import Made
from feedrace.host.prefetch import Prefetched
from feedrace.host.record_loader import Loaded
from feedrace.host.timing import Clock, Timing, where
from feedrace.host.workers import Workers
from feedrace.plan.steps import TRAIN, Step

if TYPE_CHECKING:
    from feedrace.pipeline.streams import Stream

INSIDE = "inside"  # counter: batches done of a window that is not done yet

# The counters before each step, the step, and what waits for its records, if they are on the host.
Planned = Iterator[tuple[Mapping[str, int], Step, Callable[[], Loaded]]]
Items = Generator[tuple[Step, Callable[[], dict[str, Any]]]]
Executor = Callable[["Stream", Planned, Clock, bool, bool], Items]


def host_batches(
    stream: "Stream", planned: Planned, clock: Clock, alone: bool, awaited: bool
) -> Items:
    """Load (workers) -> batcher -> host stages -> place -> device stages, step after step."""
    for before, step, load in planned:
        clock.step, epoch = step, step.start // stream.plan.records_per_epoch
        clock.steps += 1
        with noted(step):
            made = stream.host.batches(load(), step.indices, step.start, clock)
            whole = ((step, one) for one in made)
            for part, one in parts_of(step, before, made) if stream.is_windowed else whole:
                batch = one.batch
                if stream.stages.host.stages:
                    clock.enter("host stages")
                    batch = stream.stages.on_host(batch, epoch, stream.host.own(one.positions))
                clock.enter("transfer")
                batch = stream.placement.place(batch, stream.host.mine, stream.batch_size)
                yield part, functools.partial(stream.stages, batch, epoch, one.positions)
        clock.enter("plan")


def device_batches(
    stream: "Stream", planned: Planned, clock: Clock, alone: bool, awaited: bool
) -> Items:
    """Gather, mask and stage the batches of several steps in one dispatch, unless `alone`.

    awaited: whether somebody waits for the first of them, which then comes by itself.
    """
    loader = stream.device_loader("iterating")
    most = 1 if alone or awaited else loader.together
    while steps := [step for _, step, _ in itertools.islice(planned, most)]:
        clock.enter("stages")
        clock.step = steps[0]
        made: list[dict[str, Any]] = []
        if len(steps) > 1 and len(steps) == loader.together:  # another number is compiled anew
            with suppress(DataError), noted(steps[0]):  # it comes again, at its own step
                made = loader.batches(steps)
        for i, step in enumerate(steps):
            yield step, functools.partial(made.__getitem__, i) if made else _single(loader, step)
        most = 1 if alone else loader.together
        clock.enter("plan")


def execute(
    planned: Iterable[Step],
    streams: Mapping[str, "Stream"],
    before: Mapping[str, int],
    workers: Workers | None,
    clock: Clock,
    alone: bool,
) -> Items:
    """Yield the planned steps of all streams, each made by its stream's executor.

    before: the counters ahead of the first step. workers: load what is on the host, if anything is.
    alone: make each batch when it is asked for.
    """

    def paired() -> Iterator[tuple[Mapping[str, int], Step]]:
        counters = before
        for step in planned:
            yield counters, step
            counters = step.after

    clock.enter("plan")
    try:
        pairs = paired()
        under_way: Any = workers.ahead(pairs) if workers else ((*pair, None) for pair in pairs)
        awaited = True
        for name, steps in itertools.groupby(under_way, key=lambda item: item[1].stream):
            yield from streams[name].execute(streams[name], steps, clock, alone, awaited)
            awaited = False
    finally:
        if workers:
            workers.join()


def parts_of(
    step: Step, before: Mapping[str, int], made: Iterable[Made]
) -> Iterator[tuple[Step, Made]]:
    """Yield a step for each batch of a window that was not handed out yet, and the batch.

    before: the counters ahead of the window; `INSIDE` counts its batches that were handed out.

    Raises `StateError` if the window has no more batches than that.
    """
    outside, inside = split_counters(before)
    done = step.sample - len(step.indices) if step.stream == TRAIN else step.sample
    number, following = 0, iter(made)
    one = next(following, None)
    while one is not None:
        after = next(following, None)
        if step.stream == TRAIN:
            done += len(one.rows)
        if number >= inside:
            yield (
                attrs.evolve(
                    step,
                    sample=done,
                    indices=step.indices[one.rows],
                    first=step.first and number == 0,
                    last=step.last and after is None,
                    after=step.after if after is None else {**outside, INSIDE: number + 1},
                ),
                one,
            )
        number, one = number + 1, after
    if inside and number <= inside:
        raise StateError(
            f"the state stands after batch {inside} of a window of stream {step.stream!r} that has "
            f"{number}; the data or the batcher has changed"
        )


def split_counters(counters: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return the scheduler's counters, and the batches done of the window after them."""
    return {name: n for name, n in counters.items() if name != INSIDE}, counters.get(INSIDE, 0)


@contextmanager
def made_ahead(
    items: Items,
    *,
    prefetch: int,
    late: bool,
    on_device: bool,
    stall_seconds: float,
    timing: Timing,
    on_close: Callable[[], object],
) -> Generator[tuple[Iterator[Step], Callable[[], int]]]:
    """Give the finished steps, up to `prefetch` made ahead by a thread, and what counts those.

    late: finish them in the caller's thread, when they are asked for. on_device: without a thread,
    as the device works by itself. on_close: called as soon as no more are wanted.
    """
    clock = timing.clock
    if not prefetch or on_device:
        with closing(_finished(items, clock)) as steps:
            yield steps if late or not prefetch else _one_ahead(steps), int
        return
    early = as_in_this_thread(items if late else _finished(items, clock))
    with Prefetched(
        early, prefetch, stall_seconds=stall_seconds, blocked=clock.blocked, on_close=on_close
    ) as prefetched:
        made: Any = prefetched
        yield _finished(made, timing.own_clock) if late else made, prefetched.ready


def _finished(items: Items, clock: Clock) -> Generator[Step]:
    with closing(items):
        for step, make in items:
            clock.enter("stages")
            with noted(step):
                step.batch = make()
            clock.enter("room")
            yield step


def _one_ahead(steps: Iterator[Step]) -> Iterator[Step]:
    """Yield the steps, from the second on with the next one dispatched before.

    So the first batch of another stream is there when it is asked for. An error waits its turn.
    """
    held: list[Step] = []
    for step in steps:
        yield step
        break
    try:
        for step in steps:
            if held:
                yield held.pop()
            held.append(step)
    except Exception:
        yield from held
        raise
    yield from held


def _single(loader: Any, step: Step) -> Callable[[], dict[str, Any]]:
    return lambda: loader.batches([step])[0]


@contextmanager
def noted(step: Step) -> Iterator[None]:
    """Note on an error which step it belongs to."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while making the batch of {where(step)}")
        raise
