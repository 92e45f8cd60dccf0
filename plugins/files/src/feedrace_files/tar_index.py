"""Where the files in a tar lie, found by hopping from header to header; nothing is extracted."""

from collections.abc import Iterable, Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, OpenFile, Table, compression_of

_BLOCK = 512  # bytes; a header is one, and each file's bytes fill whole ones
_WINDOW = 16 << 10  # bytes that are read together: short files lie between headers
_ZEROS = bytes(_BLOCK)
_MOST_NAME = 1 << 20  # bytes of what extends a header; more are damage
_REGULAR = b"0", b"\0", b"7"
_WITHOUT_BYTES = b"1", b"2", b"3", b"4", b"5", b"6"  # links, devices, folders, pipes
_SPARSE = b"S"
_LONG_NAME, _EXTENDED = b"L", b"x"  # GNU's and POSIX's: about the header behind them


class _DamageError(Exception):
    """Why the rest of a tar cannot be read. member: the file that is cut short, if one is."""

    def __init__(self, reason: str, member: str = "") -> None:
        super().__init__(reason)
        self.member = member


@attrs.frozen
class _Member:
    """A file in a tar. start, size: of its bytes."""

    name: str
    start: int
    size: int


def scan_tar(opened: OpenFile) -> Table:
    """Return the table of the samples in a tar.

    A sample is the files, one behind the other, whose names are alike up to the first dot of the
    last part; what follows it, in small letters, is the file's extension. Files without a dot, or
    that begin with one, belong to none. Of a sample that is cut short nothing remains.

    Arrays: int64 "starts" and "sizes" of the bytes of each file; int32 "extension" of each, a place
    among the "extensions"; int64 "ends", for each sample the number of its last file plus 1;
    "keys", the names of the samples. Names are bytes (uint8), with zeros in between.

    Raises `DataError` for a file that is no tar, or compressed, or holds sparse files.
    """
    path, size = opened.file.path, opened.file.size
    head = opened.read(0, min(_BLOCK, size))
    packed = compression_of(head[:16])
    if packed is not None:
        kind, command = packed
        raise DataError(
            f"{path} is compressed with {kind}, so that no sample in it can be read by number; "
            f"decompress it first: {command.replace('FILE', path)}"
        )
    if len(head) == _BLOCK and head != _ZEROS and not _is_header(head):
        raise DataError(f"{path} is no tar file")
    samples = _Samples()
    damage = ""
    try:
        for member in _members(opened):
            samples.add(member)
    except _DamageError as error:
        damage = f"the tar is damaged or cut short: {error}"
        samples.drop(error.member)
    return samples.table(damage)


class _Samples:
    """The samples found so far."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._ends: list[int] = []
        self._extensions: dict[str, int] = {}
        self._extension: list[int] = []
        self._places: list[tuple[int, int]] = []
        self._latest: set[int] = set()  # extensions of the last sample

    def add(self, member: _Member) -> None:
        key, extension = split_name(member.name)
        if not extension:
            return
        number = self._extensions.setdefault(extension, len(self._extensions))
        if not self._keys or key != self._keys[-1] or number in self._latest:
            self._keys.append(key)
            self._ends.append(len(self._places))
            self._latest = set()
        self._latest.add(number)
        self._extension.append(number)
        self._places.append((member.start, member.size))
        self._ends[-1] += 1

    def drop(self, member: str) -> None:
        """Forget the last sample if this file belongs to it."""
        if self._keys and self._keys[-1] == split_name(member)[0]:
            self._keys.pop()
            self._ends.pop()
            left = self._ends[-1] if self._ends else 0
            del self._places[left:], self._extension[left:]

    def table(self, damage: str) -> Table:
        places = np.array(self._places, np.int64).reshape(-1, 2)
        return Table(
            {
                "starts": places[:, 0],
                "sizes": places[:, 1],
                "extension": np.array(self._extension, np.int32),
                "extensions": _joined(self._extensions),
                "ends": np.array(self._ends, np.int64),
                "keys": _joined(self._keys),
            },
            damage,
        )


def split_name(name: str) -> tuple[str, str]:
    """Return (key, extension) of a file's name in a tar; no extension if it is in no sample."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}{slash}{stem}", extension.lower()) if stem else (name, "")


def _joined(names: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(names).encode("utf-8", "surrogateescape"), np.uint8)


def names_in(joined: NDArray[np.uint8]) -> list[str]:
    """Return names from a table."""
    return joined.tobytes().decode("utf-8", "surrogateescape").split("\0") if len(joined) else []


def _members(opened: OpenFile) -> Iterator[_Member]:
    """Yield the regular files of a tar; raise `_DamageError` where it cannot be read on."""
    size = opened.file.size
    at, name, told = 0, "", -1  # what was told of the next header's file
    base, window = 0, b""
    while True:
        if at + _BLOCK > size:
            raise _DamageError(f"it ends at byte {size} without the mark of its end")
        if at + _BLOCK > base + len(window):
            base, window = at, opened.read(at, min(_WINDOW, size - at))
        head = window[at - base : at - base + _BLOCK]
        if head == _ZEROS:
            return
        if not _is_header(head):
            raise _DamageError(f"the header at byte {at} is damaged")
        kind, start = head[156:157], at + _BLOCK
        length = told if told >= 0 and kind in _REGULAR else _number(head[124:136], at)
        name = name or _name(head)
        if kind in _WITHOUT_BYTES:  # whatever the header says
            length = 0
        if start + length > size:
            raise _DamageError(f"{name}, which begins at byte {at}, ends after the tar", name)
        at = start + -(-length // _BLOCK) * _BLOCK
        if kind in (_LONG_NAME, _EXTENDED):
            if length > _MOST_NAME:
                raise _DamageError(f"the header at byte {start - _BLOCK} is damaged")
            content = opened.read(start, length)
            if kind == _LONG_NAME:
                name = _decoded(content.partition(b"\0")[0])
            else:
                fields = _extended(content, start, opened.file.path)
                name = _decoded(fields.get(b"path", b""))
                told = _decimal(fields[b"size"], start) if b"size" in fields else -1
            continue
        if kind == _SPARSE:
            raise _sparse(opened.file.path)
        if kind in _REGULAR and not (kind == b"\0" and name.endswith("/")):
            yield _Member(name, start, length)
        if kind not in b"KgNX":  # these are about the next header, too, but need not be known
            name, told = "", -1


def _is_header(block: bytes) -> bool:
    """Return whether a block's checksum is its own."""
    try:
        told = _octal(block[148:156])
    except ValueError:
        return False
    return sum(block) - sum(block[148:156]) + 8 * 0x20 == told


def _octal(field: bytes) -> int:
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _number(field: bytes, at: int) -> int:
    """Return a header's number: octal digits, or bytes if they are too many."""
    try:
        number = int.from_bytes(field[1:]) if field[0] == 0x80 else _octal(field)
    except ValueError:
        number = -1
    if number < 0:
        raise _DamageError(f"the header at byte {at} is damaged")
    return number


def _decimal(text: bytes, at: int) -> int:
    if not text.isdigit():
        raise _DamageError(f"what extends a header at byte {at} is damaged")
    return int(text)


def _name(head: bytes) -> str:
    name = head[:100].partition(b"\0")[0]
    prefix = head[345:500].partition(b"\0")[0] if head[257:263] == b"ustar\0" else b""
    return _decoded(prefix + b"/" + name if prefix else name)


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _extended(content: bytes, at: int, path: str) -> dict[bytes, bytes]:
    """Return the fields of POSIX's extension of a header: lines of length, name and value."""
    fields: dict[bytes, bytes] = {}
    begin = 0
    while begin < len(content) and content[begin]:
        digits, _, _ = content[begin : begin + 20].partition(b" ")
        length = _decimal(digits, at)
        line = content[begin + len(digits) + 1 : begin + length - 1]
        key, equals, value = line.partition(b"=")
        if not equals or length <= len(digits):
            raise _DamageError(f"what extends a header at byte {at} is damaged")
        if key.startswith(b"GNU.sparse."):
            raise _sparse(path)
        fields[key] = value
        begin += length
    return fields


def _sparse(path: str) -> DataError:
    return DataError(f"{path} holds a sparse file, whose bytes are not in one piece; pack it again")
