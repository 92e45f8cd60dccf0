"""Tables of the places where the records of a TFRecord file begin, made once and kept on disk."""

import hashlib
import mmap
import os
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

import attrs
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError

HEADER = 12  # a TFRecord is: length (uint64), CRC of it (uint32), data, CRC of the data (uint32)
FOOTER = 4

_MAGIC = b"feedrace offsets"
_VERSION = 1
_WINDOW = 32 << 20  # bytes of the file that are looked at together
# Magic, version, CRC of the table; size, mtime and inode of the file; number of records.
_HEAD = struct.Struct("<16sII4Q")
MASK_DELTA = 0xA282EAD8


@attrs.frozen(eq=False)
class Offsets:
    """The places of the records of a TFRecord file.

    ends: int64 (records + 1,): 0, then the byte after each record.
    damage: why the rest of the file cannot be addressed, or "".
    """

    ends: NDArray[np.int64]
    damage: str = ""

    def __len__(self) -> int:
        return len(self.ends) - 1


@attrs.frozen
class OffsetCache:
    """The folder in which tables are kept.

    folder: None for the user's cache folder: FEEDRACE_CACHE_DIR, or `feedrace` in XDG_CACHE_HOME.
    writable: whether tables may be written.
    """

    folder: str | None = None
    writable: bool = True

    def table(self, path: str) -> Offsets:
        """Return the table of a file, from the folder if it holds an intact and current one.

        Otherwise the table is made again. Raises `DataError` if `folder` was given and cannot be
        written; for the user's cache folder it warns, and makes the table again next time. Raises
        `FileNotFoundError`.
        """
        status = os.stat(path)
        identity = (status.st_size, status.st_mtime_ns, status.st_ino)
        place = self._place(path)
        kept = _load(place, identity)
        if kept is not None:
            return Offsets(kept)
        made = scan(path)
        if self.writable and not made.damage:
            try:
                _save(place, identity, made.ends)
            except OSError as error:
                reason = f"the table of {path} cannot be kept in {place.parent}: {error}"
                if self.folder is not None:
                    raise DataError(f"{reason}; give a cache_dir that can be written") from error
                warnings.warn(
                    f"{reason}; each process makes it again; set FEEDRACE_CACHE_DIR",
                    stacklevel=2,
                )
        return made

    def _place(self, path: str) -> Path:
        if self.folder is not None:
            root = Path(self.folder)
        elif os.environ.get("FEEDRACE_CACHE_DIR"):
            root = Path(os.environ["FEEDRACE_CACHE_DIR"])
        else:
            home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
            root = Path(home) / "feedrace"
        digest = hashlib.blake2b(os.path.realpath(path).encode(), digest_size=16).hexdigest()
        return root / "offsets" / f"{digest}.offsets"


def _load(place: Path, identity: tuple[int, int, int]) -> NDArray[np.int64] | None:
    """Return the ends in a table file, mapped into memory; None for another file's or none."""
    try:
        with open(place, "rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            magic, version, crc, *kept, count = _HEAD.unpack(head)
            if (magic, version, tuple(kept)) != (_MAGIC, _VERSION, identity):
                return None
            if os.fstat(file.fileno()).st_size != _HEAD.size + 8 * (count + 1):
                return None
        ends = np.asarray(np.memmap(place, "<i8", "r", offset=_HEAD.size, shape=(count + 1,)))
    except OSError:
        return None
    return ends if google_crc32c.value(ends.tobytes()) == crc else None


def _save(place: Path, identity: tuple[int, int, int], ends: NDArray[np.int64]) -> None:
    """Write a table file whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    content = ends.astype("<i8").tobytes()
    head = _HEAD.pack(_MAGIC, _VERSION, google_crc32c.value(content), *identity, len(ends) - 1)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(head + content)
        os.replace(name, place)
    except OSError:
        os.unlink(name)
        raise


def scan(path: str) -> Offsets:
    """Make the table of a file by hopping from length header to length header, checking each."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        begins, bad = _hop(file.fileno(), size)
    if bad is not None:
        begins = begins[: bad + 1]
        damage = f"the header at byte {begins[-1]} is damaged"
    elif begins[-1] < size:
        damage = f"the record that begins at byte {begins[-1]} ends after the file"
    else:
        return Offsets(np.array(begins, np.int64))
    return Offsets(np.array(begins, np.int64), f"the file is damaged or cut short: {damage}")


def _hop(descriptor: int, size: int) -> tuple[list[int], int | None]:
    """Return where records begin, and the number of the first with a damaged header, or None.

    The last place is where no whole record follows. Only a part of the file is in memory at a time.
    """
    unpack = struct.Struct("<Q").unpack_from
    at, begins, bad = 0, [0], None
    append = begins.append
    while at + HEADER <= size and bad is None:
        base = at - at % mmap.ALLOCATIONGRANULARITY
        length, first = min(_WINDOW, size - base), len(begins) - 1
        with mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=base) as view:
            last = base + length - HEADER
            while at <= last:
                at += unpack(view, at - base)[0] + HEADER + FOOTER
                append(at)
            good = _headers_are_good(view, np.array(begins[first:-1], np.int64) - base)
        if not good.all():
            bad = first + int(np.argmin(good))
    if at > size:
        begins.pop()
    return begins, bad


def _header_tables() -> NDArray[np.uint32]:
    """Return what each value of each of 8 bytes adds to a CRC, which is linear: shape (8, 256)."""
    zeros = google_crc32c.value(bytes(8))
    return np.array(
        [
            [google_crc32c.value(bytes(i) + bytes([b]) + bytes(7 - i)) ^ zeros for b in range(256)]
            for i in range(8)
        ],
        np.uint32,
    )


def _headers_are_good(view: mmap.mmap, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which records have a length that matches its checksum."""
    data = np.frombuffer(view, np.uint8)
    crc = np.full(len(starts), google_crc32c.value(bytes(8)), np.uint32)
    for i, table in enumerate(_header_tables()):
        crc ^= table[data[starts + i]]
    kept = np.zeros(len(starts), np.uint32)
    for i in range(4):
        kept |= data[starts + 8 + i].astype(np.uint32) << np.uint32(8 * i)
    del data  # the map cannot be closed while an array looks at it
    good: NDArray[np.bool_] = masked(crc) == kept
    return good


def masked(crc: Any) -> Any:
    """Return the CRC as TFRecord stores it: turned right by 15 bits, plus a constant."""
    if isinstance(crc, int):
        return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(MASK_DELTA)
