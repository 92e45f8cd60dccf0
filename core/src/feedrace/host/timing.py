"""Where the time goes: seconds for each part of making batches, and how long training waited."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

# What the thread that makes batches does; "room" is waiting until a batch is wanted.
PARTS = ("plan", "source", "batch", "host stages", "transfer", "stages", "room")
_ADVICE = {
    "source": "a source that holds its records, more decode threads, or smaller records help",
    "decode": "more decode threads, or records that take less decoding, help",
    "batch": "records of one shape, and a source that gives whole batches, help",
    "host stages": "move host stages to the device where JAX can do them",
    "transfer": "send smaller dtypes (uint8) and convert on the device, with `cast` or `rescale`",
    "stages": "make the stages cheaper; they share the device with training",
    "plan": "a sampler that gives many indices at a time helps",
}


class Clock:
    """Adds up the seconds that one thread spends in each part, and knows where it is now."""

    __slots__ = ("part", "seconds", "since", "step")

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.part = "room"
        self.since = time.perf_counter()
        self.step: Any = None

    def enter(self, part: str) -> None:
        """Leave the part that the thread is in, and begin another."""
        now = time.perf_counter()
        self.seconds[self.part] += now - self.since
        self.part, self.since = part, now

    def blocked(self) -> str:
        """Return what the thread is doing: the part, and the records of the step."""
        if self.step is None:
            return f"in {self.part!r}, before the first step"
        return f"in {self.part!r} of {where(self.step)}"


class Timing:
    """What a pipeline counts while it is iterated.

    clock: of what makes batches, in a thread or not. own_clock: of what is left to the loop's
        thread. depths: how often that many batches were ready when one was asked for.
    """

    def __init__(self) -> None:
        self.clock, self.own_clock = Clock(), Clock()
        self.steps = self.records = 0
        self.waiting = self.training = 0.0
        self.depths: dict[int, int] = {}
        self.depth = 0

    def follow(self, steps: Iterator[Any], ready: Any) -> Iterator[Any]:
        """Yield the steps, counting the seconds until each comes, and until the next is asked for.

        ready: returns how many batches are ready.
        """
        asked = time.perf_counter()
        while True:
            depth = ready()
            step = next(steps, None)
            came = time.perf_counter()
            self.waiting += came - asked
            if step is None:
                return
            self.depth = depth
            self.depths[depth] = self.depths.get(depth, 0) + 1
            self.steps += 1
            self.records += len(step.indices)
            yield step
            asked = time.perf_counter()
            self.training += asked - came

    def stats(self, decode: float) -> dict[str, Any]:
        """Return the figures; `decode` seconds of the source's time were decoding."""
        clocks = self.clock, self.own_clock
        seconds = {p: sum(c.seconds[p] for c in clocks) for p in PARTS if p != "room"}
        source = seconds.pop("source")
        decode = min(decode, source)
        seconds = {"source": source - decode, "decode": decode, **seconds}
        seconds |= {"waiting": self.waiting, "training": self.training}
        asked, whole = sum(self.depths.values()), self.waiting + self.training
        ready = sum(depth * times for depth, times in self.depths.items())
        return {
            "steps": self.steps,
            "records": self.records,
            "seconds": seconds,
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
        return f"Training waited for data {share:.0%} of the time: the input is not the limit."
    making = {part: seconds[part] for part in _ADVICE}
    worst = max(making, key=lambda part: making[part])
    part = making[worst] / (sum(making.values()) or 1.0)
    return (
        f"Training waited for data {share:.0%} of the time; {part:.0%} of making a batch is "
        f"{worst!r}: {_ADVICE[worst]}."
    )


def where(step: Any) -> str:
    """Return which step this is, with the numbers of its first records, for messages."""
    shown = ", ".join(map(str, step.indices[:8])) + (", ..." * (len(step.indices) > 8))
    return f"stream {step.stream!r}, epoch {step.epoch}, update {step.update}, records [{shown}]"
