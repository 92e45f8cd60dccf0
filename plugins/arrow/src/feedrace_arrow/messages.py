"""The messages of an Arrow file or stream: where they lie, and what each holds.

A message is 0xFFFFFFFF, the length of its metadata, the metadata (a flatbuffer, of which this reads
the few numbers it needs) and a body. A file is a stream between a magic and a footer.

Source: Arrow columnar format, "Serialization and Interprocess Communication".
"""

import struct
from typing import NamedTuple

from feedrace.plugin import DataError, OpenFile, StorageError

SCHEMA, DICTIONARY, BATCH = 1, 2, 3
_FILE, _OLD = b"ARROW1", b"FEA1"
_CONTINUES = 0xFFFFFFFF
_HEAD = 4096  # bytes that are read for the metadata of most messages
_MOST_ROWS = 1 << 48


class Message(NamedTuple):
    """A message: what it holds, its first byte and its size, and the rows of a batch."""

    kind: int
    start: int
    size: int
    rows: int


def messages(opened: OpenFile) -> list[Message]:
    """Return the messages of a file, by hopping from one to the next.

    Raises `DataError` for a file that is neither an Arrow file nor a stream, and for one that is
    damaged or cut short.
    """
    path, size = opened.file.path, opened.file.size
    head = opened.read(0, min(size, 8))
    if head.startswith(_OLD):
        raise DataError(f"{path} is a Feather file of version 1; write it again as version 2")
    at = 0
    if head.startswith(_FILE):
        if opened.read(size - len(_FILE), len(_FILE)) != _FILE:
            raise DataError(
                f"{path} is cut short: the end of an Arrow file is not there; write it again"
            )
        at = 8
    found: list[Message] = []
    try:
        while at < size:
            message = _message(opened, at)
            if message is None:
                break
            found.append(message)
            at += message.size
    except StorageError:
        raise
    except (struct.error, ValueError) as error:
        raise DataError(
            f"{path} is neither an Arrow file nor a stream, or is damaged or cut short at byte "
            f"{at} ({error}); write it again"
        ) from error
    if not found or found[0].kind != SCHEMA:
        raise DataError(f"{path} holds no Arrow schema; write it again")
    return found


def _message(opened: OpenFile, at: int) -> Message | None:
    """Return the message at a byte, or None at the end; raise `ValueError` for a damaged one."""
    size = opened.file.size
    head = opened.read(at, min(_HEAD, size - at))
    mark, length = struct.unpack_from("<II", head)
    if mark != _CONTINUES:
        raise ValueError("there is no message")
    if length == 0:
        return None
    if at + 8 + length > size:
        raise ValueError("a message ends after the file")
    metadata = head[8 : 8 + length]
    if len(metadata) < length:
        metadata = opened.read(at + 8, length)
    kind, body, rows = _parsed(metadata)
    if body < 0 or at + 8 + length + body > size:
        raise ValueError("a message ends after the file")
    if not 0 <= rows < _MOST_ROWS:
        raise ValueError(f"a batch of {rows} rows")
    return Message(kind, at, 8 + length + body, rows)


def _parsed(buffer: bytes) -> tuple[int, int, int]:
    """Return what a message holds, the size of its body, and the rows of a batch."""
    message = _read(buffer, "I", 0)
    kind = _field(buffer, message, 1, "B")
    rows = 0
    if kind == BATCH:
        place = _place(buffer, message, 2)
        if not place:
            raise ValueError("a batch without header")
        batch = place + _read(buffer, "I", place)
        rows = _field(buffer, batch, 0, "q")
        columns = _place(buffer, batch, 1)
        if columns:  # the length of the first, after how many there are
            columns += _read(buffer, "I", columns)
            if _read(buffer, "I", columns) and _read(buffer, "q", columns + 4) != rows:
                raise ValueError("a batch whose columns have other lengths")
    return kind, _field(buffer, message, 3, "q"), rows


def _field(buffer: bytes, table: int, slot: int, form: str) -> int:
    """Return a number of a flatbuffer's table, 0 if it is left out."""
    place = _place(buffer, table, slot)
    return _read(buffer, form, place) if place else 0


def _place(buffer: bytes, table: int, slot: int) -> int:
    """Return where a field of a flatbuffer's table lies, 0 if it is left out."""
    places = table - _read(buffer, "i", table)
    entry = 4 + 2 * slot
    if entry + 2 > _read(buffer, "H", places):
        return 0
    offset = _read(buffer, "H", places + entry)
    return table + offset if offset else 0


def _read(buffer: bytes, form: str, at: int) -> int:
    if at < 0:
        raise ValueError("metadata that point out of the message")
    (value,) = struct.unpack_from(f"<{form}", buffer, at)
    return int(value)
