"""Items made ahead by a thread, in order, and iterators that close."""

import atexit
import threading
import time
import warnings
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from feedrace.errors import FeedraceError, StallWarning

_LOOK = 0.5  # seconds between two looks at whether the thread is alive
_PATIENCE = 5.0  # seconds to wait for a thread to end: it may be blocked for ever


class ClosableIterator(ABC):
    """An iterator that is a context manager too, which closes it."""

    @abstractmethod
    def __next__(self) -> Any: ...

    @abstractmethod
    def close(self) -> None: ...

    def __iter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Prefetched(ClosableIterator):
    """An iterator whose items a thread makes ahead, at most `size` of them, in order.

    An error of the underlying iterator is raised where its item would have come. The thread ends,
    and the underlying iterator is closed in it, when the items end, on `close()`, at the end of a
    `with` block, and when the iterator is garbage collected.

    stall_seconds: warn after this many seconds without an item, and again after as many more;
        None for never. blocked: returns what the thread is doing, for that `StallWarning`.
    on_close: called, from any thread, as soon as nobody wants more items, so that the thread need
        not wait for what it waits for.
    """

    def __init__(
        self,
        items: Iterable[Any],
        size: int,
        *,
        stall_seconds: float | None = None,
        blocked: Callable[[], str] = str,
        on_close: Callable[[], object] = bool,
    ) -> None:
        self._stall_seconds, self._blocked = stall_seconds, blocked
        self._buffer = _Buffer(size, on_close)
        self._thread = threading.Thread(
            target=_fill, args=(iter(items), self._buffer), name="feedrace-prefetch", daemon=True
        )
        # Not joined when garbage is collected: the collector may run in a thread that the
        # prefetching one waits for.
        weakref.finalize(self, self._buffer.close)
        _running[self._thread] = self._buffer
        self._thread.start()

    def __next__(self) -> Any:
        item, error = self._waited()
        if error is None:
            return item
        self.close()
        try:
            raise error
        finally:
            del error  # its traceback holds this frame, and so all that the iteration has

    def ready(self) -> int:
        """Return the number of items that are made and not taken."""
        return self._buffer.ready()

    def _waited(self) -> tuple[Any, BaseException | None]:
        """Wait for an item, checking now and then that the thread is alive."""
        began = time.monotonic()
        warn_at = self._stall_seconds
        while True:
            taken = self._buffer.take(_LOOK if warn_at is None else min(_LOOK, warn_at))
            if taken is not None:
                return taken
            if not self._thread.is_alive() and not self._buffer.ready():
                return None, FeedraceError("the thread that makes batches died without an error")
            waited = time.monotonic() - began
            if warn_at is not None and self._stall_seconds is not None and waited >= warn_at:
                warn_at += self._stall_seconds
                message = f"no batch for {waited:.1f} s: the thread that makes them is "
                warnings.warn(message + self._blocked(), StallWarning, stacklevel=3)

    def close(self) -> None:
        """Stop the thread, and wait for it up to 5 seconds; a second call does nothing.

        A thread that is blocked for longer ends by itself when that is over.
        """
        self._buffer.close()
        # At the interpreter's exit the thread has ended, and `threading` can do no more than this.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)


class _Buffer:
    """A bounded first-in first-out buffer of (item, error) that can be closed from either end."""

    def __init__(self, size: int, on_close: Callable[[], object]) -> None:
        self._on_close = on_close
        self._items: deque[tuple[Any, BaseException | None]] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._closed = False

    def has_room(self) -> bool:
        """Wait for room; return False if the buffer was closed instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            return not self._closed

    def put(self, item: Any, error: BaseException | None = None) -> None:
        with self._changed:
            if not self._closed:
                self._items.append((item, error))
                self._changed.notify_all()

    def ready(self) -> int:
        return len(self._items)

    def take(self, timeout: float | None) -> tuple[Any, BaseException | None] | None:
        """Return the next (item, error), or None if none comes within `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._items, timeout):
                return None
            if not self._items:
                return None, StopIteration()
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._on_close()


_running: "weakref.WeakKeyDictionary[threading.Thread, _Buffer]" = weakref.WeakKeyDictionary()


@atexit.register
def _join_threads() -> None:
    """End all threads at exit, and wait for them: XLA must not be left in mid-call."""
    for buffer in list(_running.values()):
        buffer.close()
    deadline = time.monotonic() + 2 * _PATIENCE  # for all of them
    for thread in list(_running):
        if thread.is_alive():  # an interrupt may have kept it from starting
            thread.join(max(0.0, deadline - time.monotonic()))


def _fill(items: Iterator[Any], buffer: _Buffer) -> None:
    """Move items into the buffer; it holds no reference to the consumer, so that can be freed."""
    try:
        while buffer.has_room():
            buffer.put(next(items))
    except BaseException as error:  # noqa: BLE001 (handed to the consumer, at its place)
        buffer.put(None, error)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
