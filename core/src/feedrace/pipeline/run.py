"""A run of a pipeline: where it stands, and how its planned steps get their batches."""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, cast

import attrs
import numpy as np

from feedrace.device.loader import DevicePath
from feedrace.device.placement import agree, as_in_this_thread
from feedrace.errors import DataError, FeedraceError
from feedrace.host.prefetch import Prefetched
from feedrace.host.timing import Clock, Timing, place
from feedrace.pipeline.stream import INSIDE, Stream
from feedrace.plan.steps import TRAIN, Step, StreamPlan

_MOST_UPDATES = 2**31 - 1  # that a traced function can count


@attrs.define(eq=False, kw_only=True)
class Run:
    """The streams of a pipeline, and the steps that were handed out.

    updates: an `nnx.Variable` with the training updates done, which traced functions move, too.
    """

    streams: dict[str, Stream]
    scheduler: Any
    prefetch: int
    stall_seconds: float
    updates: Any
    timing: Timing = attrs.field(factory=Timing)
    done: int = 0  # as `updates` says, unless a traced function moved that
    counters: dict[str, int] = attrs.field(factory=lambda: {"pass": 0})
    iteration: object = None
    handed: Step | None = None  # the last step, until its epoch has been told of
    live: bool = False  # whether a step of this pass was handed out by this very object

    @property
    def plans(self) -> dict[str, StreamPlan]:
        """The plan of each stream."""
        return {name: stream.plan for name, stream in self.streams.items()}

    @property
    def is_global(self) -> bool:
        """Whether batches lie on the devices of several processes."""
        return any(stream.placement.is_global for stream in self.streams.values())

    def steps(self, fingerprint: Callable[[], Any]) -> Generator[Step]:
        """Yield the steps that are left of the pass, with their batches.

        fingerprint: gives what processes have to agree on, besides where they stand.
        """
        self.finish_step()
        self.catch_up()
        mine = self.iteration = object()
        planned = self.planned()
        first = next(planned, None)
        if first is None and self.live:
            self._end_pass()
            planned = self.planned()
            first = next(planned, None)
        if first is not None:
            if self.is_global:
                agree([self.counters, fingerprint()], self.stall_seconds)
            with self._ahead(itertools.chain([first], planned)) as (steps, ready):
                for step in self.timing.follow(steps, ready):
                    self.hand(step)
                    yield step
                    if self.iteration is not mine:
                        raise FeedraceError(
                            "this iteration is out of date: the pipeline was iterated anew or "
                            "given a state since"
                        )
                    self.finish_step()
        self._end_pass()

    def planned(self) -> Iterator[Step]:
        """Yield the steps that are left of the pass, without batches; a window is one."""
        counters, _ = split_counters(self.counters)
        planned: Iterator[Step] = self.scheduler.steps(counters, self.plans)
        return planned

    @contextmanager
    def _ahead(
        self, planned: Iterator[Step]
    ) -> Generator[tuple[Iterator[Step], Callable[[], int]]]:
        """Give the steps with their batches, and what counts those that are ready."""
        made, clock = self._made(planned), self.timing.clock
        if not self.prefetch or all(stream.made_on_device for stream in self.streams.values()):
            with closing(made):
                yield (self._finished(item, clock) for item in made), int
            return
        early = made if self._late else self._all_finished(made)
        with Prefetched(
            as_in_this_thread(early),
            self.prefetch,
            stall_seconds=self.stall_seconds,
            blocked=clock.blocked,
        ) as items:
            own = self.timing.own_clock
            late = (self._finished(item, own) for item in items) if self._late else items
            yield late, items.ready

    def _all_finished(self, made: Generator[Any]) -> Generator[Step]:
        with closing(made):
            for item in made:
                yield self._finished(item, self.timing.clock)

    @property
    def _late(self) -> bool:
        """Whether stages have to wait until their batch is asked for.

        Programs that run on several hosts have to start in one order, and parameters of stages that
        are trained have to be those of the last update.
        """
        return self.is_global or any(len(s.stages.modules) for s in self.streams.values())

    def _made(self, planned: Iterator[Step]) -> Generator[Any]:
        """Yield what becomes the planned steps, once `_finished`; a window's step becomes several.

        Steps whose records are on the device come finished.
        """
        clock = self.timing.clock
        before, inside = split_counters(self.counters)
        together = 1  # the first batch comes by itself: it is waited for
        late = self._late
        while True:
            clock.enter("plan")
            step = next(planned, None)
            if step is None:
                return
            clock.step = step
            stream = self.streams[step.stream]
            if stream.made_on_device:
                path = cast(DevicePath, stream.device_path)
                alone = late or not self.prefetch
                steps, planned = _alike(step, planned, 1 if alone else min(together, path.together))
                yield from steps if late else self._on_device(path, steps)
                step, together = steps[-1], path.together
            else:
                with _told(step):
                    yield from stream.load(step, before, inside, clock)
            before, inside = dict(step.after), 0

    def _on_device(self, path: DevicePath, steps: list[Step]) -> Iterator[Step]:
        """Yield the steps with their batches, made in one dispatch."""
        self.timing.clock.enter("stages")
        if len(steps) == path.together:
            with suppress(DataError), _told(steps[0]):  # it comes below, at its own step
                for step, batch in zip(steps, path.batches(steps), strict=True):
                    step.batch = batch
        for step in steps:
            if step.batch is None:
                with _told(step):
                    (step.batch,) = path.batches([step])
            yield step

    def _finished(self, made: Any, clock: Clock) -> Step:
        if isinstance(made, Step):
            step = made
            if step.batch is None:
                path = cast(DevicePath, self.streams[step.stream].device_path)
                clock.enter("stages")
                with _told(step):
                    (step.batch,) = path.batches([step])
        else:
            with _told(made.step):
                step = self.streams[made.step.stream].finish(made, clock)
        clock.enter("room")
        return step

    def hand(self, step: Step) -> None:
        """Count a step as handed out."""
        self.counters, self.handed, self.live = dict(step.after), step, True
        self._count(step.update)

    def _count(self, done: int) -> None:
        self.done = min(done, _MOST_UPDATES)
        self.updates.set_value(np.int32(self.done))

    def catch_up(self) -> None:
        """Take over the steps that a traced function made."""
        updates = self.updates.get_value()
        if int(updates) != self.done:
            done, length = int(updates), self.streams[TRAIN].plan.batches_per_pass
            self.go_to({"pass": done // length if length else 0, "update": done})

    def finish_step(self) -> None:
        """Tell the sampler of an epoch that the last step handed out has completed."""
        step, self.handed = self.handed, None
        if step is not None:
            stream = self.streams[step.stream]
            told = getattr(stream.sampler, "epoch_completed", None)
            whole = INSIDE not in step.after
            if told is not None and whole and stream.plan.ends_epoch(step.start):
                told(step.start // stream.plan.records_per_epoch)

    def _end_pass(self) -> None:
        self.counters, self.live = {"pass": self.counters["pass"] + 1}, False

    def train_steps(self, length: int) -> list[Step]:
        """Return the next steps, of as many passes as it takes."""
        counters, _ = split_counters(self.counters)
        planned, steps, fresh = self.planned(), list[Step](), False
        while len(steps) < length:
            step = next(planned, None)
            if step is None:
                if fresh:
                    raise FeedraceError("a pass has no steps; there is nothing to scan")
                counters, fresh = {"pass": counters["pass"] + 1}, True
                planned = self.scheduler.steps(counters, self.plans)
            elif step.stream != TRAIN:
                raise FeedraceError(
                    f"scan runs the train stream, but after {len(steps)} of {length} steps one of "
                    f"stream {step.stream!r} is due; take a smaller length, and steps() for that"
                )
            else:
                counters, fresh = {"pass": step.after["pass"]}, False
                steps.append(step)
        return steps

    def go_to(self, counters: dict[str, int]) -> None:
        """Stand there, and end all iterations."""
        length = self.streams[TRAIN].plan.batches_per_pass or 0
        self._count(counters.get("update", counters["pass"] * length))
        self.iteration = object()
        self.handed, self.live = None, False
        self.counters = counters


def split_counters(counters: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Return the scheduler's counters, and the batches done of the window after them."""
    return {name: n for name, n in counters.items() if name != INSIDE}, counters.get(INSIDE, 0)


def _alike(first: Step, planned: Iterator[Step], most: int) -> tuple[list[Step], Iterator[Step]]:
    """Return up to `most` steps that follow one another in one stream, and the steps after them."""
    steps = [first]
    while len(steps) < most:
        step = next(planned, None)
        if step is None:
            break
        if step.stream != first.stream:
            return steps, itertools.chain([step], planned)
        steps.append(step)
    return steps, planned


@contextmanager
def _told(step: Step) -> Iterator[None]:
    """Note on an error which step it belongs to."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while making the batch of {place(step)}")
        raise
