"""Where the lines of a text file begin, found without decoding them."""

import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError
from feedrace.storage.compressed import compression_of
from feedrace.storage.files import OpenFile
from feedrace.storage.tables import Table

_WINDOW = 4 << 20  # bytes of the file that are looked at together
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_NEWLINE, _RETURN = 0x0A, 0x0D


def scan_lines(file: OpenFile) -> Table:
    """Return the table of the lines of a file: int64 "starts" and "sizes", in bytes.

    A line ends with a newline, which its size leaves out, as it does a carriage return before it.
    What follows the last newline is a line unless it is empty. Empty lines count. A byte order mark
    of UTF-8 is no part of the first line. Nothing is decoded.

    Raises `DataError` for a file that is compressed, or marked as UTF-16 or UTF-32, and as the file
    does for what it cannot read.
    """
    size = file.file.size
    head = file.read(0, min(16, size))
    _check_text(file.file.path, head)
    begin = len(_BOM) if head.startswith(_BOM) else 0
    ends, returns = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
    before = 0  # the byte before the window
    for start in range(begin, size, _WINDOW):
        data = np.frombuffer(file.read(start, min(_WINDOW, size - start)), np.uint8)
        found = np.flatnonzero(data == _NEWLINE)
        previous = data[found - 1] == _RETURN
        if len(found) and found[0] == 0:
            previous[0] = before == _RETURN
        ends.append(found + start)
        returns.append(previous)
        before = int(data[-1])
    return _table(begin, size, np.concatenate(ends), np.concatenate(returns))


def _table(begin: int, size: int, ends: NDArray[np.int64], returns: NDArray[np.bool_]) -> Table:
    """Return the table of lines that end where newlines are, `returns` before some of them."""
    starts = np.concatenate([[begin], ends + 1])
    if starts[-1] == size:
        starts = starts[:-1]
    else:  # the last line has no newline
        ends, returns = np.append(ends, size), np.append(returns, False)
    return Table({"starts": starts, "sizes": ends - starts - returns})


def _check_text(path: str, head: bytes) -> None:
    found = compression_of(head)
    if found is not None:
        kind, command = found
        raise DataError(
            f"{path} is compressed with {kind}, so that no line in it can be read by number; "
            f"decompress it first: {command.replace('FILE', path)}"
        )
    if head.startswith(_UTF16):  # as UTF-32 does in one of its two orders
        raise DataError(f"{path} begins with the byte order mark of UTF-16; write it as UTF-8")
