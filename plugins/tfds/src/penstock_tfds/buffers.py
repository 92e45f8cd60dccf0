"""Memory for batches, used again once nobody holds the batch: fresh pages are as dear as a copy."""

import sys
import threading
from typing import Any

import numpy as np

_MOST = 8  # buffers that are kept, enough for the batches that a pipeline makes ahead
_WORTHWHILE = 1 << 20  # bytes; the allocator itself keeps smaller ones
_ALIGNMENT = 64  # what XLA wants of memory that it takes as it is, without a copy


def fresh(size: int) -> Any:
    """Return memory for `size` bytes, a uint8 array."""
    return np.empty(size, np.uint8)


class Buffers:
    """Hands out memory, that which nobody looks at any more first."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Any:
        """Return memory for `size` bytes, a uint8 array; what it holds is left over."""
        if size < _WORTHWHILE:
            return fresh(size)
        with self._lock:
            for memory in self._kept:
                # All views of it, JAX's too, hold the array itself. With none left it is held by
                # the list, by the name `memory` and by the argument of this call.
                if len(memory) == size and sys.getrefcount(memory) == 3:
                    return memory
            made = fresh(size)
            self._kept = [*self._kept[-_MOST + 1 :], made]
            return made


def aligned(shape: tuple[int, ...], dtype: Any, take: Any = fresh) -> Any:
    """Return an array whose memory XLA can take over as it is; its values are whatever was there.

    take: gives the memory, as `Buffers.take` does.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = take(size + _ALIGNMENT)
    offset = -memory.ctypes.data % _ALIGNMENT
    return memory[offset : offset + size].view(dtype).reshape(shape)
