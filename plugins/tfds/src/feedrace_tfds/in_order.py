"""Reading in the stored order through a buffer, for files without an index."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, File, Raw, Storage, Unreadable, pip_line

ReadFile = Callable[[File, int], Iterator[Raw]]


class InOrder:
    """Reads files front to back and keeps the last few records.

    An order that stays within windows of `window` records reads each file once. A step back, or a
    far one ahead, opens the file of that record again: resuming anywhere reads at most one file up
    to that record.
    """

    concurrent = False

    def __init__(
        self, parts: Sequence[tuple[File, int, int, int]], read: ReadFile, window: int, why: str
    ) -> None:
        self._arguments = parts, read, window, why
        self._parts = parts
        self._ends = np.cumsum([take for _, _, take, _ in parts])
        self._read_file = read
        self._window = window
        self._kept: dict[int, Raw] = {}
        self._next = 0  # the number of the record that the open file gives next
        self._open: Iterator[Raw] | None = None
        self._lock = threading.Lock()
        self.way = (
            f"in the stored order, through a buffer of {2 * window} records, since {why}; an order "
            f"that goes beyond it reads a part of a file for each record"
        )

    def __reduce__(self) -> Any:
        return InOrder, self._arguments

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), in their order.

        Raises `DataError` for a file that is missing, and for one that holds more records than the
        dataset's metadata say.
        """
        asked = numbers.tolist()
        with self._lock:
            found = {n: self._kept[n] for n in asked if n in self._kept}
            for number in sorted(set(asked) - found.keys()):
                found[number] = self._advance(number)
        yield from enumerate(found[n] for n in asked)

    def _advance(self, number: int) -> Raw:
        """Read on up to a record; from the beginning of its window if it is far."""
        if not self._next <= number < self._next + 2 * self._window:
            self._next, self._open = number - number % self._window, None
        while True:
            part = int(np.searchsorted(self._ends, self._next, side="right"))
            file, skip, take, held = self._parts[part]
            if self._open is None:
                within = self._next - (int(self._ends[part]) - take)
                self._open = self._read_file(file, skip + within)
            raw = next(self._open, Unreadable("the file is damaged or cut short"))
            if self._next + 1 == self._ends[part]:
                rest, self._open = self._open, None
                beyond = skip + take == held and sum(isinstance(one, bytes) for one in rest)
                if beyond:
                    raise more_than_told(file.path, held + beyond, held)
            self._kept.pop(self._next, None)
            self._kept[self._next] = raw
            if len(self._kept) > 2 * self._window:
                del self._kept[next(iter(self._kept))]
            self._next += 1
            if self._next > number:
                return raw


def parquet_records(storage: Storage, file: File, skip: int) -> Iterator[Raw]:
    """Yield the records of a Parquet file, from number `skip` on.

    Raises `DataError` for a file that is missing, and without pyarrow.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        install = pip_line("install", "pyarrow")
        raise DataError(f"reading {file.path} needs pyarrow: {install}") from error
    with storage.open(file).binary() as opened, pyarrow.parquet.ParquetFile(opened) as table:
        first, groups = 0, list[int]()
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if groups or first + rows > skip:
                groups.append(group)
            else:
                first += rows
        for batch in table.iter_batches(256, row_groups=groups, columns=["data"]):
            for row in batch.column(0):
                if first >= skip:
                    yield row.as_py()
                first += 1


def more_than_told(path: str, held: int, told: int) -> DataError:
    """Return the error for a file with records that the metadata do not count."""
    return DataError(
        f"{path} holds {held} records, and the shardLengths of dataset_info.json say {told}; the "
        f"others would never be read; prepare the dataset again"
    )
