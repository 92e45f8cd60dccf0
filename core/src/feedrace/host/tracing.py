"""What every thread and worker did when, as a file for Perfetto or Chrome's tracing page.

The format is the Trace Event Format's JSON: complete events ("X") in microseconds, and a name for
each thread ("M").
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from feedrace.host.timing import Clock, Timing


def write(path: str | os.PathLike[str], timing: Timing) -> None:
    """Write the spans that the clocks kept; raise `OSError` if the file cannot be written."""
    clocks = [timing.own_clock, timing.clock, *timing.workers.values()]
    events = [event for number, clock in enumerate(clocks) for event in _events(number, clock)]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)


def _events(number: int, clock: Clock) -> Iterator[dict[str, Any]]:
    name = {"name": "thread_name", "ph": "M", "pid": 1, "tid": number}
    yield {**name, "args": {"name": clock.name}}
    for part, start, end, step in clock.spans or ():
        event = {"name": part, "ph": "X", "pid": 1, "tid": number, "ts": start * 1e6}
        event["dur"] = (end - start) * 1e6
        if step is not None:
            first = step.indices.flat[0].item() if step.indices.size else None
            event["args"] = {"stream": step.stream, "epoch": step.epoch, "update": step.update,
                             "first record": first}  # fmt: skip
        yield event
