"""Blocks of remote files on the local disk: bounded, checked, shared by threads and processes.

A file of the cache, an extent, holds up to 128 neighbouring blocks of one remote file, sparse:
first a table with the checksum and the size of each block, then the blocks. A block counts once its
entry is written and fits, so one that a killed process left unfinished is not there. The name is a
digest of address, size and version; two processes that write the same block write the same bytes.
"""

import contextlib
import hashlib
import os
import struct
import threading
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from feedrace.storage.files import File, most_open_files

# Measured with 20 ms for a request (docs/storage.md): a smaller one makes more requests if all of a
# file is read, a larger one makes small records at random slower.
BLOCK = 256 << 10
_BLOCKS = 128  # in an extent
_EXTENT = _BLOCKS * BLOCK
_ENTRY = struct.Struct("<II")  # checksum, bytes; no bytes if the block is not there
_DATA = 4096  # where the blocks of an extent begin
_UNIT = 4096  # bytes that a byte of the file `written` stands for
_KEPT = 0.9  # of the bound, after old extents were removed
_TOUCH = 1.0  # seconds after which a use is noted again


def digest(file: File) -> str:
    """Return the name under which the blocks of a file are kept, without its address."""
    text = f"blocks 1\n{file.path}\n{file.size}\n{file.version}"
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


class BlockCache:
    """Blocks in a folder, those that were used least recently removed first.

    folder: made when the first block is written. most: bytes of blocks; none are kept if it is 0.
    If the folder cannot be written, it warns once and keeps nothing more.
    """

    def __init__(self, folder: str, most: int) -> None:
        self._folder, self._most = folder, most
        self._extents: OrderedDict[tuple[str, int], _Extent] = OrderedDict()
        self._most_open = max(16, most_open_files() // 4)
        self._lock = threading.Lock()
        self._sweeping = threading.Lock()
        self._refused = most <= 0

    def read(self, name: str, start: int, size: int) -> bytes | None:
        """Return bytes of a file that is kept under a name, or None unless all are there."""
        parts = []
        while size > 0:
            number, within = divmod(start, _EXTENT)
            count = min(size, _EXTENT - within)
            extent = self._extent(name, number)
            part = extent.read(within, count) if extent else None
            if part is None:
                return None
            parts.append(part)
            start, size = start + count, size - count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_many(
        self, name: str, starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> list[bytes | None]:
        """Return what `read` returns for several ranges."""
        made: list[bytes | None] = []
        extents: dict[int, _Extent | None] = {}
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            number = start // _EXTENT
            at = start - number * _EXTENT
            if number not in extents:
                extents[number] = self._extent(name, number)
            if size == 0 or at + size > _EXTENT:  # of the next extent, too
                made.append(self.read(name, start, size))
            else:
                extent = extents[number]
                made.append(extent.read(at, size) if extent else None)
        return made

    def has(self, name: str, block: int) -> bool:
        """Return whether a block is there and whole."""
        extent = self._extent(name, block // _BLOCKS)
        return extent is not None and extent.has(block % _BLOCKS)

    def write(self, name: str, block: int, data: bytes | memoryview) -> None:
        """Keep a block, and remove old ones if there are too many."""
        if self._refused:
            return
        try:
            self._extent_to_write(name, block // _BLOCKS).write(block % _BLOCKS, data)
            if self._written(len(data)) * _UNIT > self._most:
                self._sweep()
        except OSError as error:
            self._refused = True
            warnings.warn(
                f"blocks of remote files cannot be kept in {self._folder}: {error}; each use "
                f"fetches them again; give a cache_dir that can be written, or smaller cache_bytes",
                RuntimeWarning,
                stacklevel=2,
            )

    def _path(self, name: str, number: int) -> str:
        return os.path.join(self._folder, name[:2], f"{name}-{number}")

    def _extent(self, name: str, number: int) -> "_Extent | None":
        key = name, number
        with self._lock:
            extent = self._extents.get(key)
            if extent is not None:
                self._extents.move_to_end(key)
                if extent.used() or not extent.removed():
                    return extent
                del self._extents[key]
        try:
            return self._keep(key, _Extent(self._path(name, number), os.O_RDWR))
        except OSError:
            return None

    def _extent_to_write(self, name: str, number: int) -> "_Extent":
        key = name, number
        extent = self._extents.get(key)
        self._close_one_removed()
        if extent is not None and not extent.removed():
            return extent
        path = self._path(name, number)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return self._keep(key, _Extent(path, os.O_RDWR | os.O_CREAT))

    def _keep(self, key: tuple[str, int], extent: "_Extent") -> "_Extent":
        with self._lock:
            self._extents[key] = extent
            while len(self._extents) > self._most_open:
                self._extents.popitem(last=False)
        return extent

    def _close_one_removed(self) -> None:
        """Close the extent that was used least recently if a process removed it: it takes space."""
        with self._lock:
            oldest = next(iter(self._extents), None)
            if oldest is not None and self._extents[oldest].removed():
                del self._extents[oldest]

    def _written(self, size: int) -> int:
        """Add to what was written to this folder by all processes; return the units of all."""
        path = os.path.join(self._folder, "written")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, bytes(-(-size // _UNIT)))
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove the extents that were used least recently, and note how much is left."""
        if not self._sweeping.acquire(blocking=False):
            return
        try:
            extents = sorted(self._scan())
            total = sum(size for _, size, _ in extents)
            most = self._most if total <= self._most else _KEPT * self._most
            for _, size, path in extents:
                if total <= most:
                    break
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    os.unlink(path)
                total -= size
            os.truncate(os.path.join(self._folder, "written"), -(-total // _UNIT))
        finally:
            self._sweeping.release()

    def _scan(self) -> Iterator[tuple[int, int, str]]:
        """Yield when each extent was used, its bytes on the disk, and its path."""
        for folder in os.scandir(self._folder):
            if folder.is_dir():
                for entry in os.scandir(folder):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_blocks * 512, entry.path


class _Extent:
    """An open file of the cache, closed when it is garbage collected."""

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = os.open(path, flags, 0o666)
        # A block is checked when this process first uses it. Nobody changes a block afterwards.
        self._checked = bytearray(_BLOCKS)
        self._noted = -_TOUCH
        self.used()

    _close = staticmethod(os.close)  # which a module may have lost when the program ends

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self._close(self._descriptor)

    def used(self) -> bool:
        """Note that the extent is in use; return whether that was noted a moment ago."""
        now = time.monotonic()
        if now - self._noted < _TOUCH:
            return True
        self._noted = now
        now_ns = time.time_ns()
        os.utime(self._descriptor, ns=(now_ns, now_ns))
        return False

    def removed(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    def has(self, place: int) -> bool:
        if self._checked[place]:
            return True
        entry = os.pread(self._descriptor, _ENTRY.size, place * _ENTRY.size)
        if len(entry) < _ENTRY.size:
            return False
        checksum, size = _ENTRY.unpack(entry)
        if not 0 < size <= BLOCK:
            return False
        data = os.pread(self._descriptor, size, _DATA + place * BLOCK)
        if len(data) != size or zlib.crc32(data) != checksum:
            return False
        self._checked[place] = 1
        return True

    def read(self, start: int, size: int) -> bytes | None:
        checked, first, last = self._checked, start // BLOCK, (start + size - 1) // BLOCK
        if not (checked[first] and checked[last] and last - first < 2):  # most often they are
            for place in range(first, last + 1):
                if not self.has(place):
                    return None
        data = os.pread(self._descriptor, size, _DATA + start)
        if len(data) == size:
            return data
        self._checked = bytearray(_BLOCKS)  # somebody cut the file
        return None

    def write(self, place: int, data: bytes | memoryview) -> None:
        if os.pwrite(self._descriptor, data, _DATA + place * BLOCK) != len(data):
            raise OSError("the disk is full")
        entry = _ENTRY.pack(zlib.crc32(data), len(data))
        os.pwrite(self._descriptor, entry, place * _ENTRY.size)
        self._checked[place] = 1
