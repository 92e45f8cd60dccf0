"""Raw records of ArrayRecord files by number, read by the format's own reader."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    DataError,
    File,
    Numbered,
    Raw,
    Storage,
    Unreadable,
    most_open_files,
    too_few,
)
from feedrace_tfds.told import check_count


class ArrayRecords:
    """Raw records of local files by number, several threads at a time.

    counts: the files, and how many records each should hold.
    whole: whether a file that holds too few is an error before any of its records is read.
    """

    def __init__(self, storage: Storage, counts: Mapping[File, int], whole: bool) -> None:
        self._arguments = storage, counts, whole
        self._storage, self._counts, self._whole = self._arguments
        self._files = tuple(counts)
        self._numbered = Numbered([file.path for file in counts], tuple(counts.values()))
        self._idle: OrderedDict[str, list[_Reader]] = OrderedDict()  # the latest used last
        self._open = 0  # how many are idle
        self._most = most_open_files()
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return ArrayRecords, self._arguments

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        Raises `DataError` for a file that is missing, or has changed, or whose index, at the end,
        cannot be read.
        """
        for number, places, within in self._numbered.by_file(numbers):
            file = self._files[number]
            reader = self._borrowed(file)
            try:
                yield from zip(places.tolist(), reader.read(within), strict=True)
            finally:
                self._give_back(file.path, reader)

    def _borrowed(self, file: File) -> "_Reader":
        """Return a reader of a file that no other thread reads from."""
        with self._lock:
            idle = self._idle.get(file.path)
            if idle:
                self._open -= 1
                return idle.pop()
        self._storage.open(file)  # whether it is what it was
        reader = _Reader(file.path)
        check_count(file.path, reader.held, self._counts[file], whole=self._whole)
        return reader

    def _give_back(self, path: str, reader: "_Reader") -> None:
        with self._lock:
            self._idle.setdefault(path, []).append(reader)
            self._idle.move_to_end(path)
            self._open += 1
            while self._open > self._most:
                self._open -= len(self._idle.popitem(last=False)[1])


class _Reader:
    """An open file; its reader checks the records' checksums. One thread reads at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader = self._opened()
        self.held: int = self._reader.num_records()

    def _opened(self) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            # By default it starts a thread for each of dozens of read-ahead buffers.
            return ArrayRecordReader(self._path, "readahead_buffer_size:0,max_parallelism:0")
        except RuntimeError as error:
            raise DataError(
                f"{self._path} is damaged or cut short; prepare the dataset again"
            ) from error

    def read(self, numbers: NDArray[np.int64]) -> Iterator[Raw]:
        # One by one in this thread: a call for many goes through a pool whose threads spin, and
        # takes twice to three times the CPU time.
        for number in numbers.tolist():
            if number >= self.held:
                yield Unreadable(too_few(self.held))
                continue
            record: Raw
            try:
                self._reader.seek(number)
                record = self._reader.read()
            except (RuntimeError, IndexError) as error:
                record = Unreadable(str(error).splitlines()[0])
                self._reader = self._opened()  # one that failed stays failed
            yield record
