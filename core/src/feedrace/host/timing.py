"""Where the time goes: seconds for each part of making batches, and how long training waited."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What a thread or a worker does. Waiting: for workers ("workers"), for the answer of its process
# ("worker process"), for steps ("input"), and until what it made is wanted ("room").
_WAITING = ("workers", "worker process", "input", "room")
PARTS = ("plan", "source", "record stages", "batch", "host stages", "transfer", "stages", *_WAITING)
_ADVICE = {
    "source": "more workers, a source that holds its records, or smaller records help",
    "decode": "more workers, or records that take less decoding, help",
    "record stages": "more workers help, or processes if the stages are Python that holds its lock",
    "batch": "records of one shape, and a source that gives whole batches, help",
    "host stages": "move host stages to the device where JAX can do them, or make them work on "
    "records, in workers",
    "transfer": "send smaller dtypes (uint8) and convert on the device, with `cast` or `rescale`",
    "stages": "make the stages cheaper; they share the device with training",
    "plan": "a sampler that gives many indices at a time helps",
}


Span = tuple[str, float, float, Any]


class Clock:
    """Adds up the seconds that one thread spends in each part, and knows where it is now.

    step: what it works for, or worked for last. other: the clock of the worker that it waits for.
    spans: (part, start, end, step) of each visit, if it is a list; times are those of
        `time.perf_counter()`.
    """

    __slots__ = ("name", "other", "part", "seconds", "since", "spans", "step", "steps")

    def __init__(self, name: str = "", spans: list[Span] | None = None) -> None:
        self.name, self.spans = name, spans
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.part = "room"
        self.since = time.perf_counter()
        self.step: Any = None
        self.steps = 0
        self.other: Clock | None = None

    def enter(self, part: str) -> None:
        """Leave the part that the thread is in, and begin another."""
        now = time.perf_counter()
        self.seconds[self.part] += now - self.since
        if self.spans is not None:
            self.spans.append((self.part, self.since, now, self.step))
        self.part, self.since = part, now

    def add(self, spans: Iterable[Span]) -> None:
        """Take over what another process did since the last `enter`; the rest was waiting."""
        now, left = time.perf_counter(), 0.0
        for part, start, end, _ in spans:
            self.seconds[part] += end - start
            left += end - start
        self.seconds[self.part] += max(0.0, now - self.since - left)
        if self.spans is not None:
            self.spans.extend((*span[:3], self.step) for span in spans)
        self.since = now

    def shares(self) -> dict[str, float]:
        """Return which share of the time went to work, to waiting for input and for room."""
        whole = sum(self.seconds.values()) or 1.0
        waited = {part: self.seconds[part] for part in _WAITING}
        return {
            "work": 1.0 - sum(waited.values()) / whole,
            "input": (sum(waited.values()) - waited["room"]) / whole,
            "room": waited["room"] / whole,
        }

    def blocked(self) -> str:
        """Return what the thread is doing: the part, and the records of the step."""
        if self.step is None:
            return f"in {self.part!r}, before the first step"
        part = self.part if self.other is None else self.other.part
        return f"in {part!r} of {where(self.step)}"


class Timing:
    """What a pipeline counts while it is iterated.

    clock: of what makes batches, in a thread or not. own_clock: of what is left to the loop's
        thread. workers: those of workers, by name. depths: how often that many batches were ready
        when one was asked for. is_traced: whether clocks keep their spans.
    """

    def __init__(self) -> None:
        self.is_traced = False
        self.clock, self.own_clock = Clock("batches"), Clock("loop")
        self.workers: dict[str, Clock] = {}
        self.steps = self.records = 0
        self.waiting = self.training = 0.0
        self.depths: dict[int, int] = {}
        self.depth = 0

    def begin(self) -> None:
        """Count from now on: an iteration begins."""
        self.clock.since = self.own_clock.since = time.perf_counter()

    def trace(self, traced: bool = True) -> None:
        """Keep the spans of all clocks from now on, or forget them."""
        self.is_traced = traced
        for clock in (self.clock, self.own_clock, *self.workers.values()):
            clock.spans = [] if traced else None

    def worker(self, name: str) -> Clock:
        """Return the clock of a worker, which goes on from an earlier iteration."""
        clock = self.workers.get(name)
        if clock is None:
            clock = self.workers[name] = Clock(name, [] if self.is_traced else None)
        clock.since = time.perf_counter()
        return clock

    def follow(self, steps: Iterator[Any], ready: Any) -> Iterator[Any]:
        """Yield the steps, counting the seconds until each comes, and until the next is asked for.

        ready: returns how many batches are ready.
        """
        asked = time.perf_counter()
        while True:
            depth = ready()
            step = next(steps, None)
            came = time.perf_counter()
            waited = came - asked
            self.waiting += waited
            if step is None:
                return
            self.depth = depth
            self.depths[depth] = self.depths.get(depth, 0) + 1
            self.steps += 1
            self.records += len(step.indices)
            spans = self.own_clock.spans
            if spans is not None:
                light = step.with_batch(None)
                spans.append(("waiting", came - waited, came, light))
            yield step
            asked = time.perf_counter()
            self.training += asked - came
            if spans is not None:
                spans.append(("training", came, asked, light))

    def stats(self, decode: float) -> dict[str, Any]:
        """Return the figures; `decode` seconds of the source's time were decoding."""
        workers = list(self.workers.values())
        clocks = self.clock, self.own_clock, *workers
        seconds = {p: sum(c.seconds[p] for c in clocks) for p in PARTS if p not in _WAITING}
        source = seconds.pop("source")
        decode = min(decode, source)
        seconds = {"source": source - decode, "decode": decode, **seconds}
        seconds |= {"waiting": self.waiting, "training": self.training}
        asked, whole = sum(self.depths.values()), self.waiting + self.training
        ready = sum(depth * times for depth, times in self.depths.items())
        shown = [self.clock, *workers] if self.steps else []
        return {
            "steps": self.steps,
            "records": self.records,
            "seconds": seconds,
            "workers": {c.name: {"steps": c.steps, **c.shares()} for c in shown},
            "queue_depth": self.depth,
            "mean_queue_depth": ready / asked if asked else 0.0,
            "input_bound": self.waiting / whole if whole else 0.0,
        }


def advice(stats: Mapping[str, Any]) -> str:
    """Return a sentence about a run from what `Pipeline.stats()` returned."""
    share, seconds = stats["input_bound"], stats["seconds"]
    if not stats["steps"]:
        return "Nothing was run yet."
    if share < 0.1:
        return f"The loop waited for data {share:.0%} of the time: the input is not the limit."
    making = {part: seconds[part] for part in _ADVICE}
    worst = max(making, key=lambda part: making[part])
    part = making[worst] / (sum(making.values()) or 1.0)
    return (
        f"The loop waited for data {share:.0%} of the time; {part:.0%} of making a batch is "
        f"{worst!r}: {_ADVICE[worst]}."
    )


def where(step: Any) -> str:
    """Return which step this is, with the numbers of its first records, for messages."""
    shown = ", ".join(map(str, step.indices[:8])) + (", ..." * (len(step.indices) > 8))
    place = f"window {step.number}" if step.update is None else f"update {step.update}"
    return f"stream {step.stream!r}, epoch {step.epoch}, {place}, records [{shown}]"
