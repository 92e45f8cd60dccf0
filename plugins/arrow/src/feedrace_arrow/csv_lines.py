"""CSV: records found by a kept table, quoted newlines among their text, parsed a step at a time."""

from collections.abc import Sequence

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from feedrace.plugin import DataError, OpenFile, Table, scan_lines

VERSION = 1
_QUOTE, _NEWLINE = 0x22, 0x0A
_WINDOW = 4 << 20  # bytes


@attrs.frozen
class Dialect:
    """How records are written. delimiter: between values. quoted: whether quotes have a meaning.

    header: whether the first record of a file has the names of the columns.
    """

    delimiter: str
    quoted: bool
    header: bool

    @property
    def kind(self) -> str:
        """What distinguishes the tables that `scan` makes."""
        return f"csv-{ord(self.delimiter)}-{self.quoted:d}{self.header:d}"

    def scan(self, opened: OpenFile) -> Table:
        """Return where the records of a file lie, and its header, without empty lines.

        Raises `DataError` for a quote that neither begins nor ends a value.
        """
        table = scan_lines(opened)
        starts, ends = table.arrays["starts"], table.arrays["starts"] + table.arrays["sizes"]
        if self.quoted:
            inside = self._quoted_ends(opened, ends)
            # A line that ends within a quoted value goes on on the next.
            begins = np.concatenate([[True], ~inside])[: len(starts)]
            starts, ends = starts[begins], ends[~inside]
            if len(inside) and inside[-1]:
                raise DataError(
                    f"{opened.file.path}: a quoted value that begins after byte {int(starts[-1])} "
                    f"does not end; close it, or read without quotes: quoted = false"
                )
        full = ends > starts
        starts, sizes = starts[full], (ends - starts)[full]
        if not self.header:
            return Table({"starts": starts, "sizes": sizes})
        if not len(starts):
            raise DataError(f"{opened.file.path} is empty; its first line has to name the columns")
        header = np.frombuffer(opened.read(int(starts[0]), int(sizes[0])), np.uint8)
        return Table({"starts": starts[1:], "sizes": sizes[1:], "header": header})

    def _quoted_ends(self, opened: OpenFile, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the lines that end at `ends` end within a quoted value."""
        size, odd, before = opened.file.size, 0, _NEWLINE
        inside = np.zeros(len(ends), bool)
        for start in range(0, size, _WINDOW):
            data = np.frombuffer(opened.read(start, min(_WINDOW, size - start)), np.uint8)
            quotes = np.flatnonzero(data == _QUOTE)
            left = data[quotes - 1]
            if len(quotes) and quotes[0] == 0:
                left[0] = before
            opening = (np.arange(len(quotes)) + odd) % 2 == 0
            stray = opening & ~np.isin(left, [ord(self.delimiter), _NEWLINE, 0x0D, _QUOTE, 0xBF])
            if stray.any():
                raise DataError(
                    f"{opened.file.path}: the quote at byte {start + int(quotes[stray][0])} is "
                    f"within a value; quote the value and double the quote, or read without "
                    f"quotes: quoted = false"
                )
            low, high = np.searchsorted(ends, [start, start + len(data)])
            counts = np.searchsorted(quotes + start, ends[low:high]) + odd
            inside[low:high] = counts % 2 == 1
            odd = (odd + len(quotes)) % 2
            before = int(data[-1])
        inside[np.searchsorted(ends, size) :] = odd == 1
        return inside


@attrs.frozen
class CSVParser:
    """Parses records of these columns."""

    dialect: Dialect
    names: tuple[str, ...]
    unit = "record"

    def parse(self, lines: Sequence[bytes], schema: pa.Schema, *, infer: bool = False) -> pa.Table:
        """Return a table of the records, as `Parser` says."""
        text = b"\n".join(lines) + b"\n"
        return arrow_csv.read_csv(
            pa.BufferReader(text),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=list(self.names)
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char='"' if self.dialect.quoted else False,
                newlines_in_values=self.dialect.quoted,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=schema, include_columns=None if infer else schema.names
            ),
        )


def header_names(dialect: Dialect, header: bytes, path: str) -> tuple[str, ...]:
    """Return the names in the first record of a file; raise `DataError` for odd ones."""
    import csv

    try:
        rows = csv.reader(
            header.decode().splitlines(keepends=True),
            delimiter=dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        )
        names = tuple(next(rows))
    except (ValueError, csv.Error, StopIteration) as error:
        raise DataError(f"{path}: its first record names no columns: {error}") from error
    if len(set(names)) < len(names) or "" in names:
        raise DataError(
            f"{path}: the columns that its first record names are {list(names)}; each needs a name "
            f"of its own: give column_names and leave the record out"
        )
    return names
