"""Memory that processes share, and the arrays in it.

It has no name: whatever ends, however it ends, the system frees it. It is a file that is deleted as
soon as it is made, which worker processes inherit (on Windows, a mapping by a name that ends with
its last holder).
"""

import contextlib
import math
import mmap
import os
import sys
import tempfile
import weakref
from queue import SimpleQueue
from typing import Any, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.host.records import ALIGNMENT, aligned, is_ragged, leaves, map_leaves

_PAGE = mmap.ALLOCATIONGRANULARITY


class Handle(NamedTuple):
    """What another process needs to map a block: its file, or its name on Windows."""

    file: int
    name: str
    size: int


class Block:
    """A piece of memory that several processes map."""

    def __init__(self, size: int) -> None:
        self._file = _unnamed_file()
        self._names = 0
        self.size = 0
        self.grow(size)

    def grow(self, size: int) -> None:
        """Make it larger; maps that there are stay valid."""
        size = -(-max(size, 1) // _PAGE) * _PAGE
        if size > self.size:
            if self._file >= 0:
                os.ftruncate(self._file, size)
            self._names += 1
            self.size = size
            self.memory = mapped(self.handle)

    @property
    def handle(self) -> Handle:
        """What other processes need to map it."""
        return Handle(self._file, f"feedrace-{os.getpid()}-{id(self)}-{self._names}", self.size)

    def __del__(self) -> None:
        if self._file >= 0:  # what is mapped stays until it is no longer used
            with contextlib.suppress(OSError):
                os.close(self._file)


def _unnamed_file() -> int:
    if sys.platform == "win32":
        return -1
    if hasattr(os, "memfd_create"):
        return os.memfd_create("feedrace")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def mapped(handle: Handle, *, private: bool = False) -> NDArray[np.uint8]:
    """Return a block's memory, as bytes; if `private`, what this process writes is its own."""
    if handle.file < 0:
        memory: Any = mmap.mmap(-1, handle.size, handle.name)  # type: ignore[arg-type]
    else:
        access = mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE
        memory = mmap.mmap(handle.file, handle.size, access=access)
    return np.frombuffer(memory, np.uint8)


@attrs.frozen(eq=False)
class Placed:
    """Where a field lies in a block.

    shape: of the array; for one array a record, the array's shapes, int64 (records, rank).
    """

    offset: int
    shape: Any
    dtype: Any


class Arena:
    """Gives out the memory of a block from its start; what does not fit comes from elsewhere."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self._used = 0

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an empty array."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        start = self._start(size)
        if start < 0:
            return aligned(shape, dtype)
        return self._memory[start : start + size].view(dtype).reshape(shape)

    def _start(self, size: int) -> int:
        start = -(-self._used // ALIGNMENT) * ALIGNMENT
        if start + size > len(self._memory):
            return -1
        self._used = start + size
        return start

    def place(self, records: dict[str, Any]) -> tuple[Any, int]:
        """Return the records with a `Placed` for each field of numbers, and the bytes that lack.

        Fields that are not in the block yet are copied there; text and objects stay as they are.
        """
        lacking = 0

        def leaf(value: Any) -> Any:
            nonlocal lacking
            value = np.asarray(value)
            if is_ragged(value) and all(_are_alike(value[0], one) for one in value):
                shapes = np.array([one.shape for one in value], np.int64)
                total = int(shapes.prod(axis=1).sum())
                flat = self.allocate((total,), value[0].dtype)
                at = self._offset(flat)
                if at < 0:
                    lacking += flat.nbytes + ALIGNMENT
                elif total:
                    np.concatenate([one.reshape(-1) for one in value], out=flat)
                return Placed(at, shapes, flat.dtype)
            if value.dtype.hasobject:
                return value
            at = self._offset(value) if value.flags.c_contiguous else -1
            if at < 0:
                copy = self.allocate(value.shape, value.dtype)
                at = self._offset(copy)
                if at < 0:
                    lacking += value.nbytes + ALIGNMENT
                else:
                    copy[...] = value
            return Placed(at, value.shape, value.dtype)

        return map_leaves(leaf, records), lacking and self._used + lacking

    def _offset(self, array: NDArray[Any]) -> int:
        """Return where an array begins in the block, -1 if it lies elsewhere."""
        at = array.ctypes.data - self._memory.ctypes.data
        return at if at >= 0 and at + array.nbytes <= len(self._memory) else -1


def placed_arrays(described: Any, memory: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the records that `Arena.place` described, as views of the block's memory."""

    def leaf(value: Any) -> Any:
        if not isinstance(value, Placed):
            return value
        if isinstance(value.shape, tuple):
            size = math.prod(value.shape) * value.dtype.itemsize
            return memory[value.offset : value.offset + size].view(value.dtype).reshape(value.shape)
        sizes = value.shape.prod(axis=1)
        total = int(sizes.sum()) * value.dtype.itemsize
        flat = memory[value.offset : value.offset + total].view(value.dtype)
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        rows = np.empty(len(parts), object)
        for row, (part, shape) in enumerate(zip(parts, value.shape.tolist(), strict=True)):
            rows[row] = part.reshape(shape)
        return rows

    return map_leaves(leaf, described)  # type: ignore[no-any-return]


class Ring:
    """Blocks for the batches that worker processes make, used again once a batch is freed.

    count: how many. size: bytes of each at first. kept: how many at most may lie under batches
    that were handed out; of further ones the batch is copied.
    """

    def __init__(self, count: int, size: int, kept: int, most: int) -> None:
        self.blocks = [Block(size) for _ in range(count)]
        self.most = most
        self._kept = kept
        self._free: SimpleQueue[int] = SimpleQueue()  # may be used while garbage is collected
        self._lent: set[int] = set()
        for number in range(count):
            self._free.put(number)

    def take(self) -> int:
        """Return the number of a block that nothing uses, when there is one; -1 once closed."""
        number = self._free.get()
        if number < 0:
            self._free.put(number)  # for the next who asks
        return number

    def close(self) -> None:
        """Let nobody wait for a block."""
        self._free.put(-1)

    def give(self, number: int) -> None:
        """Take back a block."""
        self._lent.discard(number)
        self._free.put(number)

    def lend(self, number: int, described: Any) -> dict[str, Any]:
        """Return what lies in a block, which comes back when the arrays are freed."""
        if len(self._lent) >= self._kept:
            found = placed_arrays(described, self.blocks[number].memory)
            own: dict[str, Any] = map_leaves(_copied, found)
            self.give(number)
            return own
        self._lent.add(number)
        lease = _Lease(self, number)
        return placed_arrays(described, np.asarray(lease))


class _Lease:
    """A block under arrays; they hold it, and it gives the block back when they are freed.

    A batch that outlives its iteration keeps this block alone, not the ring.
    """

    def __init__(self, ring: Ring, number: int) -> None:
        self._ring, self._number = weakref.ref(ring), number
        self._memory = ring.blocks[number].memory
        self.__array_interface__ = self._memory.__array_interface__

    def __del__(self) -> None:
        ring = self._ring()
        if ring is not None:
            ring.give(self._number)


def _are_alike(first: NDArray[Any], one: Any) -> bool:
    """Return whether a row can lie next to the first one; a record that was left out is None."""
    return (
        isinstance(one, np.ndarray)
        and one.dtype == first.dtype
        and one.ndim == first.ndim
        and not one.dtype.hasobject
    )


def _copied(value: Any) -> Any:
    if value.dtype.hasobject:
        copy = value.copy()
        flat = copy.reshape(-1)
        for place, one in enumerate(flat):
            if isinstance(one, np.ndarray):
                flat[place] = one.copy()
        return copy
    copy = aligned(value.shape, value.dtype)
    copy[...] = value
    return copy


def bytes_of(spec: Any, rows: int) -> int:
    """Return about how many bytes `rows` records of a spec take; an axis that varies counts 256."""
    total = 0
    for _, leaf in leaves(spec):
        sizes = [256 if size is None else size for size in leaf.shape]
        dtype = np.dtype(leaf.dtype)
        if not dtype.hasobject:
            total += rows * int(np.prod(sizes, dtype=np.int64)) * dtype.itemsize + ALIGNMENT
    return total + rows + ALIGNMENT  # the mask
