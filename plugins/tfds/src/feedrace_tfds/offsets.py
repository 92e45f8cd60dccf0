"""Tables of the places where the records of a TFRecord file begin, made once and kept on disk."""

import contextlib
import hashlib
import os
import secrets
import stat
import struct
import time
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
_WINDOW = 4 << 20  # bytes of the file that are looked at together
_LARGE = 64 << 10  # bytes of a record, from which on it is faster to read the header alone
_HEADERS = 1024  # of large records that are looked at together
_FAR = 1 << 62  # no file is as long
_ABANDONED = 3600  # seconds after which nobody writes an unfinished table any more
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
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a regular file; prepare the dataset again")
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
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = self.folder or os.environ.get("FEEDRACE_CACHE_DIR") or f"{home}/feedrace"
        root = Path(os.path.expanduser(folder))
        digest = hashlib.blake2b(os.path.realpath(path).encode(), digest_size=16).hexdigest()
        return root / "offsets" / f"{digest}.offsets"


def _load(place: Path, identity: tuple[int, int, int]) -> NDArray[np.int64] | None:
    """Return the ends in a table file; None for another file's or none."""
    try:
        # Without waiting if it is a pipe; read, not mapped, since another process may cut it.
        with open(os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            head = file.read(_HEAD.size)
            if head is None or len(head) < _HEAD.size:
                return None
            magic, version, crc, *kept, count = _HEAD.unpack(head)
            if (magic, version, tuple(kept)) != (_MAGIC, _VERSION, identity):
                return None
            size = 8 * (count + 1)
            if os.fstat(file.fileno()).st_size != _HEAD.size + size:
                return None
            content = file.read(size)
    except OSError:
        return None
    if len(content) < size or google_crc32c.value(content) != crc:
        return None
    return np.frombuffer(content, "<i8")


def _save(place: Path, identity: tuple[int, int, int], ends: NDArray[np.int64]) -> None:
    """Write a table file whole or not at all, and remove what killed processes left of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    content = ends.astype("<i8").tobytes()
    head = _HEAD.pack(_MAGIC, _VERSION, google_crc32c.value(content), *identity, len(ends) - 1)
    unfinished = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
    try:
        # Not by `tempfile`, whose files others cannot read: a cache folder may be shared.
        with open(unfinished, "xb") as file:
            file.write(head + content)
        os.replace(unfinished, place)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    for other in place.parent.glob(f"{place.name}.*"):
        with contextlib.suppress(OSError):  # another process removed it, or it is another user's
            if time.time() - other.stat().st_mtime > _ABANDONED:
                other.unlink()


def scan(path: str) -> Offsets:
    """Make the table of a file by hopping from length header to length header, checking each.

    A file that becomes shorter meanwhile gives the table of what was still there.
    """
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
    It is read, not mapped: touching a page that is gone ends the process.
    """
    at, begins, bad = 0, [0], None
    while at + HEADER <= size and bad is None:
        first = len(begins) - 1
        large = at > _LARGE * first > 0  # records, so that their headers are read alone
        view, places = _headers(descriptor, begins) if large else _window(descriptor, begins)
        good = _headers_are_good(np.frombuffer(view, np.uint8), places)
        if not good.all():
            bad = first + int(np.argmin(good))
        elif not len(good):  # the file has become shorter
            bad = first
        at = begins[-1]
    if at > size:
        begins.pop()
    return begins, bad


def _window(descriptor: int, begins: list[int]) -> tuple[bytes, NDArray[np.int64]]:
    """Read a part of the file from the last place on; add the places where its records end.

    Return the bytes, and where in them headers are.
    """
    base, first = begins[-1], len(begins) - 1
    view = os.pread(descriptor, _WINDOW, base)
    unpack, append = struct.Struct("<Q").unpack_from, begins.append
    at, last = 0, len(view) - HEADER
    while at <= last:
        at += unpack(view, at)[0] + HEADER + FOOTER
        append(base + at)
    return view, np.array(begins[first:-1], np.int64) - base


def _headers(descriptor: int, begins: list[int]) -> tuple[bytes, NDArray[np.int64]]:
    """Read some headers from the last place on, as `_window` does."""
    heads: list[bytes] = []
    while len(heads) < _HEADERS:
        head = os.pread(descriptor, HEADER, begins[-1]) if begins[-1] < _FAR else b""
        if len(head) < HEADER:
            break
        heads.append(head)
        begins.append(begins[-1] + int.from_bytes(head[:8], "little") + HEADER + FOOTER)
    return b"".join(heads), np.arange(len(heads)) * HEADER


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


def _headers_are_good(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the headers at these places hold a length that matches its checksum."""
    crc = np.full(len(starts), google_crc32c.value(bytes(8)), np.uint32)
    for i, table in enumerate(_header_tables()):
        crc ^= table[data[starts + i]]
    kept = np.zeros(len(starts), np.uint32)
    for i in range(4):
        kept |= data[starts + 8 + i].astype(np.uint32) << np.uint32(8 * i)
    good: NDArray[np.bool_] = masked(crc) == kept
    return good


def masked(crc: Any) -> Any:
    """Return the CRC as TFRecord stores it: turned right by 15 bits, plus a constant."""
    if isinstance(crc, int):
        return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(MASK_DELTA)
