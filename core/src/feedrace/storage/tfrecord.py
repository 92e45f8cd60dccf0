"""TFRecord files: the table of one from its length headers, and the checksums of its records.

A record is: its length (uint64), a CRC of that (uint32), its bytes, a CRC of those (uint32). The
CRCs are Castagnoli's, from `google_crc32c`, which plugins that read TFRecords depend on.
"""

import functools
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError, pip_line
from feedrace.storage.files import OpenFile
from feedrace.storage.ranges import Raw, Unreadable
from feedrace.storage.tables import Table

_HEADER, _FOOTER = 12, 4
_WINDOW = 4 << 20  # bytes of the file that are looked at together
_LARGE = 64 << 10  # bytes of a record, from which on it is faster to read the header alone
_HEADERS = 1024  # of large records that are looked at together
_FAR = 1 << 62  # no file is as long
_MASK_DELTA = 0xA282EAD8


def scan_tfrecord(opened: OpenFile) -> Table:
    """Return where the records of a file begin, each with the CRC behind it, and their sizes.

    It hops from length header to length header and checks each. `damage` says where they end, if
    that is before the file does. Raises `DataError` without `google_crc32c`.
    """
    begins, bad = _hop(opened)
    damage = ""
    if bad is not None:
        begins = begins[: bad + 1]
        damage = f"the header at byte {begins[-1]} is damaged"
    elif begins[-1] < opened.file.size:
        damage = f"the record that begins at byte {begins[-1]} ends after the file"
    starts = np.array(begins, np.int64)
    arrays = {"starts": starts[:-1] + _HEADER, "sizes": np.diff(starts) - _HEADER}
    return Table(arrays, f"the file is damaged or cut short: {damage}" if damage else "")


def check_tfrecord(stored: bytes) -> Raw:
    """Return a record without the CRC behind it, or `Unreadable` if that does not match."""
    record = stored[:-_FOOTER]
    crc = _crc()(record)
    crc = ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF  # `masked`, for speed
    if crc == int.from_bytes(stored[-_FOOTER:], "little"):
        return record
    return Unreadable("its checksum does not match")


def masked(crc: Any) -> Any:
    """Return a CRC, or an array of uint32, as TFRecord stores it: turned by 15 bits, and moved."""
    if isinstance(crc, int):
        return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK_DELTA)


@functools.cache
def _crc() -> Callable[[bytes], int]:
    try:
        import google_crc32c
    except ImportError as error:
        install = pip_line("install", "google-crc32c")
        raise DataError(f"reading TFRecord files needs google-crc32c: {install}") from error
    value: Callable[[bytes], int] = google_crc32c.value
    return value


def _hop(opened: OpenFile) -> tuple[list[int], int | None]:
    """Return where records begin, and the number of the first with a damaged header, or None.

    The last place is where no whole record follows. Only a part of the file is in memory at a time.
    """
    size = opened.file.size
    at, begins, bad = 0, [0], None
    while at + _HEADER <= size and bad is None:
        first = len(begins) - 1
        large = at > _LARGE * first > 0  # records, so that their headers are read alone
        view, places = _headers(opened, begins) if large else _window(opened, begins)
        good = _headers_are_good(np.frombuffer(view, np.uint8), places)
        if not good.all():
            bad = first + int(np.argmin(good))
        at = begins[-1]
    if at > size:
        begins.pop()
    return begins, bad


def _window(opened: OpenFile, begins: list[int]) -> tuple[bytes, NDArray[np.int64]]:
    """Read a part of the file from the last place on; add the places where its records end.

    Return the bytes, and where in them headers are.
    """
    base, first = begins[-1], len(begins) - 1
    view = opened.read(base, min(_WINDOW, opened.file.size - base))
    unpack, append = Struct("<Q").unpack_from, begins.append
    at, last = 0, len(view) - _HEADER
    while at <= last:
        at += unpack(view, at)[0] + _HEADER + _FOOTER
        append(base + at)
    return view, np.array(begins[first:-1], np.int64) - base


def _headers(opened: OpenFile, begins: list[int]) -> tuple[bytes, NDArray[np.int64]]:
    """Read some headers from the last place on, as `_window` does."""
    heads: list[bytes] = []
    while len(heads) < _HEADERS and begins[-1] + _HEADER <= min(opened.file.size, _FAR):
        heads.append(opened.read(begins[-1], _HEADER))
        length = int.from_bytes(heads[-1][:8], "little")
        begins.append(begins[-1] + length + _HEADER + _FOOTER)
    return b"".join(heads), np.arange(len(heads)) * _HEADER


@functools.cache
def _header_tables() -> NDArray[np.uint32]:
    """Return what each value of each of 8 bytes adds to a CRC, which is linear: shape (8, 256)."""
    crc = _crc()
    zeros = crc(bytes(8))
    return np.array(
        [[crc(bytes(i) + bytes([b]) + bytes(7 - i)) ^ zeros for b in range(256)] for i in range(8)],
        np.uint32,
    )


def _headers_are_good(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the headers at these places hold a length that matches its checksum."""
    crc = np.full(len(starts), _crc()(bytes(8)), np.uint32)
    for i, table in enumerate(_header_tables()):
        crc ^= table[data[starts + i]]
    kept = np.zeros(len(starts), np.uint32)
    for i in range(4):
        kept |= data[starts + 8 + i].astype(np.uint32) << np.uint32(8 * i)
    good: NDArray[np.bool_] = masked(crc) == kept
    return good
