"""Getting batches onto devices, ahead of the program that consumes them."""

import atexit
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Self

import jax
import numpy as np

from penstock.config import check_integer
from penstock.specs import canonical, is_host_dtype


def to_device(batch: Any, sharding: Any = None) -> Any:
    """Return the pytree with its arrays on a device; strings and objects stay on the host.

    sharding: a device, a `jax.sharding.Sharding`, or a pytree of them like `batch`; None takes
        JAX's default device.

    Raises `DataError` where an integer does not fit the dtype that arrives.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(batch)
    moving, places = [], []
    for i, (path, leaf) in enumerate(leaves):
        if isinstance(leaf, jax.Array) or not is_host_dtype(np.asarray(leaf).dtype):
            moving.append(canonical(jax.tree_util.keystr(path, simple=True), leaf))
            places.append(i)
    if sharding is not None and not isinstance(sharding, jax.sharding.Sharding | jax.Device):
        spread = jax.tree.leaves(sharding)
        sharding = [spread[i] for i in places]
    values = [leaf for _, leaf in leaves]
    for i, value in zip(places, jax.device_put(moving, sharding), strict=True):
        values[i] = value
    return jax.tree.unflatten(structure, values)


class _ClosableIterator(ABC):
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


class Prefetched(_ClosableIterator):
    """An iterator whose items a thread makes ahead, at most `size` of them, in order.

    An error of the underlying iterator is raised where its item would have come. The thread ends,
    and the underlying iterator is closed in it, when the items end, on `close()`, at the end of a
    `with` block, and when the iterator is garbage collected.
    """

    def __init__(self, items: Iterable[Any], size: int) -> None:
        self._buffer = _Buffer(size)
        self._thread = threading.Thread(
            target=_fill, args=(iter(items), self._buffer), name="penstock-prefetch", daemon=True
        )
        # Not joined when garbage is collected: the collector may run in a thread that the
        # prefetching one waits for.
        weakref.finalize(self, self._buffer.close)
        _running[self._thread] = self._buffer
        self._thread.start()

    def __next__(self) -> Any:
        item, error = self._buffer.get()
        if error is None:
            return item
        self.close()
        raise error

    def close(self) -> None:
        """Stop the thread and wait for it; a second call does nothing."""
        self._buffer.close()
        if self._thread is not threading.current_thread():
            self._thread.join()


class Closing(_ClosableIterator):
    """An iterator over a generator that is a context manager too, and closes it at the end."""

    def __init__(self, items: Generator[Any]) -> None:
        self._items = items

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        """Close the generator."""
        self._items.close()


class _Buffer:
    """A bounded first-in first-out buffer of (item, error) that can be closed from either end."""

    def __init__(self, size: int) -> None:
        self._items: deque[tuple[Any, BaseException | None]] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._closed = False

    def has_room(self) -> bool:
        """Wait for room; False where the buffer was closed instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            return not self._closed

    def put(self, item: Any, error: BaseException | None = None) -> None:
        with self._changed:
            if not self._closed:
                self._items.append((item, error))
                self._changed.notify_all()

    def get(self) -> tuple[Any, BaseException | None]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
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


_running: "weakref.WeakKeyDictionary[threading.Thread, _Buffer]" = weakref.WeakKeyDictionary()


@atexit.register
def _join_threads() -> None:
    """End all threads at exit, and wait for them: XLA must not be left in mid-call."""
    for buffer in list(_running.values()):
        buffer.close()
    for thread in list(_running):
        thread.join(timeout=10)


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


def prefetch_to_device(iterable: Iterable[Any], size: int = 2, sharding: Any = None) -> Prefetched:
    """Return an iterator of the same pytrees, on the device, up to `size` of them made ahead.

    sharding: as for `to_device`.

    Close it, or use it in a `with` block, to stop early. Raises `ConfigError` for a size below 1.
    """
    check_integer("size", size, 1)
    return Prefetched(_on_device(iterable, sharding), size)


def _on_device(iterable: Iterable[Any], sharding: Any) -> Generator[Any]:
    items = iter(iterable)
    try:
        for item in items:
            yield to_device(item, sharding)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
