"""Iterating a pipeline: the counters of what was handed out, and the iterators that hand it out."""

import json
import os
from collections.abc import Callable, Generator, Mapping
from typing import Any

import attrs
import numpy as np
from flax import nnx

from feedrace.errors import FeedraceError
from feedrace.host.prefetch import ClosableIterator
from feedrace.host.timing import Timing
from feedrace.plan import state
from feedrace.plan.steps import Step

_MOST_UPDATES = 2**31 - 1  # that a traced function can count


@attrs.define(eq=False)
class Progress:
    """What a pipeline counts; nothing of it decides what a batch holds.

    updates: the training updates done, which traced functions move, too.
    updates_per_pass: None if a pass never ends, or if only reading shows it.
    next_pass: returns the counters of the start of the next pass from those of the end of one.
    iteration: the newest iteration; older ones are out of date.
    handed: the last step, until the next is asked for. Setting it is what counts the step, so that
        an interrupt finds it handed out and counted, or neither.
    """

    updates: "nnx.Variable[Any]"
    updates_per_pass: int | None
    next_pass: Callable[[Mapping[str, int]], Mapping[str, int]]
    iteration: object = None
    handed: Step | None = None
    done: int = 0  # as `updates` says, unless a traced function moved that
    timing: Timing = attrs.field(factory=Timing)
    process: int = attrs.field(factory=os.getpid)
    _counters: Mapping[str, int] = attrs.field(factory=lambda: {"pass": 0})
    _live: bool = False

    @property
    def counters(self) -> dict[str, int]:
        """The scheduler's state after the last step that was handed out."""
        return dict(self._counters if self.handed is None else self.handed.after)

    @property
    def live(self) -> bool:
        """Whether a step of this pass was handed out by this very object."""
        return self._live or self.handed is not None

    def settle(self) -> Step | None:
        """Return the step that was handed out last, once."""
        step = self.handed
        if step is not None:
            self._counters, self._live = step.after, True
            self.handed = None
        return step

    def check_process(self) -> None:
        """Raise `FeedraceError` in a process that was forked: JAX and threads do not survive it."""
        if os.getpid() != self.process:
            raise FeedraceError(
                f"this pipeline was made in process {self.process}, of which this one is a fork; "
                f"threads and JAX do not work there: start processes with spawn"
            )

    def check(self, iteration: object) -> None:
        """Raise `FeedraceError` if a newer iteration or a state has taken over."""
        if self.iteration is not iteration:
            raise FeedraceError(
                "this iteration is out of date: the pipeline was iterated anew or given a state "
                "since"
            )

    def end_pass(self) -> None:
        """Stand at the start of the next pass."""
        self._counters, self._live, self.handed = self.next_pass(self.counters), False, None

    def go_to(self, counters: Mapping[str, int]) -> None:
        """Stand there, and end all iterations."""
        self.count(counters.get("update", counters["pass"] * (self.updates_per_pass or 0)))
        self.iteration, self.handed, self._live = object(), None, False
        self._counters = dict(counters)

    def catch_up(self) -> None:
        """Take over the steps that a traced function made."""
        done = int(self.updates.get_value())
        if done != self.done:
            length = self.updates_per_pass
            self.go_to({"pass": done // length if length else 0, "update": done})

    def count(self, done: int) -> None:
        """Show traced functions how many training updates are done."""
        self.done = min(done, _MOST_UPDATES)
        self.updates.set_value(np.int32(self.done))


def next_pass(counters: Mapping[str, int]) -> dict[str, int]:
    """Return the counters of the start of the next pass."""
    return {"pass": counters["pass"] + 1}


class PipelineIterator(ClosableIterator):
    """What is left of a pipeline's pass, as steps or batches; a context manager that closes it.

    `get_state`, `set_state` and `start_prefetch` are those that grain's iterators have, so that
    what saves and restores these, grain's own handler for Orbax among it, does so with this one.
    """

    def __init__(
        self,
        pipeline: Any,
        progress: Progress,
        make: Callable[[], Generator[Step]],
        *,
        batches: bool = False,
    ) -> None:
        self._pipeline, self._progress, self._make = pipeline, progress, make
        self._batches = batches
        self._items = make()

    def __repr__(self) -> str:
        at = ", ".join(f"{name} {value}" for name, value in self._progress.counters.items())
        return f"{type(self).__name__}({'batches' if self._batches else 'steps'} after {at})"

    def __next__(self) -> Any:
        self._progress.check_process()
        step = next(self._items)
        item = step.batch if self._batches else step
        self._progress.handed = step  # nothing can interrupt between this and the caller
        return item

    def close(self) -> None:
        """Stop, and end the thread that makes batches ahead."""
        self._items.close()

    def get_state(self) -> "IteratorState":
        """Return `Pipeline.get_state()`, a dict."""
        return IteratorState(self._pipeline.get_state())

    def set_state(self, document: dict[str, Any] | bytes) -> None:
        """Go to a state that `get_state` gave, and go on from there.

        document: the dict, or its JSON text. Raises as `Pipeline.set_state` does.
        """
        if isinstance(document, bytes):
            document = state.parse(document.decode(), "the text")
        self._pipeline.set_state(document)
        self.close()
        self._items = self._make()

    def start_prefetch(self) -> None:
        """Return at once: batches are made ahead from the first one that is asked for on."""


class IteratorState(dict[str, Any]):
    """A state document that grain's handler can write, as it does with bytes."""

    def decode(self) -> str:
        """Return the document as JSON."""
        return json.dumps(self)
