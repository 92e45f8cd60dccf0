"""What `iter(pipeline)` and `pipeline.steps()` return."""

import json
from collections.abc import Callable, Generator
from typing import Any

from feedrace.host.prefetch import ClosableIterator
from feedrace.plan import state


class PipelineIterator(ClosableIterator):
    """What is left of a pipeline's pass, as steps or batches; a context manager that closes it.

    `get_state`, `set_state` and `start_prefetch` are those that grain's iterators have, so that
    what saves and restores these, grain's own handler for Orbax among it, does so with this one.
    """

    def __init__(self, pipeline: Any, make: Callable[[], Generator[Any]]) -> None:
        self._pipeline, self._make = pipeline, make
        self._items = make()

    def __next__(self) -> Any:
        return next(self._items)

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
