"""Riegeli files, as far as ArrayRecord needs them: chunks of records, read and written.

The format: https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md, and
https://github.com/google/array_record/blob/main/cpp/layout.proto for what comes behind the records.
"""

import contextlib
import functools
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence

import attrs

from feedrace.storage.highway import riegeli_hash

BLOCK = 1 << 16  # bytes, after each of which a header of the block interrupts what is there
_MAGIC = 0x71930E704FDAE05E  # of an ArrayRecord file
_BLOCK_HEADER, _CHUNK_HEADER = 24, 40
_LIST = 64  # where our list begins: behind the file's signature, and before the first block's end
_SIMPLE = 0x72  # the kind of chunk that holds records one after the other


@attrs.frozen
class Chunk:
    """A chunk as it lies in a file, the headers of blocks included, and where it begins there."""

    at: int
    data: bytes


@contextlib.contextmanager
def small_file(chunks: Sequence[Chunk], group: int) -> Iterator[str]:
    """Give the path of an ArrayRecord file of these chunks, `group` records or fewer in each.

    Record r of chunk c is number c * group + r. A chunk lies as far behind the begin of a block as
    it did, since the headers of blocks interrupt it there. The list of chunks comes first, so that
    what says where the list is never changes.
    """
    descriptor, path = _scratch()
    try:
        at, begins = BLOCK, []
        for chunk in chunks:
            at += (chunk.at - at) % BLOCK
            begins.append(at)
            os.pwrite(descriptor, chunk.data, at)
            at += len(chunk.data)
        os.pwrite(descriptor, _list_of([*begins, at], group), _LIST)
        end = -(-at // BLOCK) * BLOCK
        os.pwrite(descriptor, _ending(), end)
        os.ftruncate(descriptor, end + BLOCK)
        yield path
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            os.unlink(path)


def _scratch() -> tuple[int, str]:
    """Return a new file in memory, or else a temporary one: its descriptor and its path."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("feedrace-array-record")
        return descriptor, f"/proc/self/fd/{descriptor}"
    return tempfile.mkstemp(prefix="feedrace-", suffix=".array_record")


def _list_of(begins: Sequence[int], group: int) -> bytes:
    """Return the chunk that lists where chunks begin, and last where the last one ends."""
    count = len(begins)
    about = _fields((1, 1), (2, count), (3, group * (count - 1)))
    rows = [_fields((1, begins[0]), (3, group)), *(_fields((1, begin)) for begin in begins[1:])]
    return _chunk([b"\x0a" + _varint(len(about)) + about, *rows])


@functools.cache
def _ending() -> bytes:
    """Return the last block of a file: the header of a block, and a chunk that names the list."""
    chunk = _chunk([_fields((1, _LIST), (2, _MAGIC))] * 3)
    return _hashed(struct.pack("<QQ", 0, _BLOCK_HEADER + len(chunk))) + chunk


def _chunk(records: Sequence[bytes]) -> bytes:
    """Return a simple chunk of records, not compressed."""
    sizes = b"".join(_varint(len(record)) for record in records)
    data = b"".join([b"\0", _varint(len(sizes)), sizes, *records])
    kind = _SIMPLE | len(records) << 8
    head = struct.pack("<4Q", len(data), riegeli_hash(data), kind, sum(map(len, records)))
    return _hashed(head) + data


def _hashed(head: bytes) -> bytes:
    return struct.pack("<Q", riegeli_hash(head)) + head


def list_place(ending: bytes) -> int:
    """Return where the list of chunks begins, from the last block of a file.

    Raises `LookupError` or `ValueError` for the last block of another kind of file.
    """
    records = ending[_BLOCK_HEADER + _CHUNK_HEADER :]
    begin = 2 + records[1]  # behind the kind of compression, which is none, and the sizes
    where = parsed(records[begin : begin + records[2]])
    if where[2] != _MAGIC:
        raise ValueError("it is no ArrayRecord file")
    return where[1]


def records_in(at: int, data: bytes) -> int:
    """Return how many records a chunk that begins at `at` holds."""
    head = bytearray()
    for place in range(len(data)):
        if (at + place) % BLOCK >= _BLOCK_HEADER:  # no header of a block lies there
            head.append(data[place])
            if len(head) == _CHUNK_HEADER:
                break
    return int.from_bytes(head[25:32], "little")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(*fields: tuple[int, int]) -> bytes:
    """Return a message of protocol buffers whose fields are numbers."""
    return b"".join(_varint(field << 3) + _varint(value) for field, value in fields)


def parsed(message: bytes) -> dict[int, int]:
    """Return the fields of a message whose fields are numbers."""
    values: list[int] = []
    value = shift = 0
    for byte in message:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value)
            value = shift = 0
    return {key >> 3: value for key, value in zip(values[::2], values[1::2], strict=True)}
