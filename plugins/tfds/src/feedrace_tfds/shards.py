"""Files of raw records that can be read by number: TFRecord and ArrayRecord."""

import os
import stat
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError
from feedrace_tfds.offsets import FOOTER, HEADER, MASK_DELTA, OffsetCache, Offsets


class Unreadable(NamedTuple):
    """What stands in place of a record that cannot be read."""

    reason: str


Raw = bytes | Unreadable


class File(Protocol):
    """An open file of records; one thread reads from it at a time.

    held: how many records can be found in it.
    damage: why there are no more, or "".
    """

    held: int
    damage: str

    def read(self, numbers: NDArray[np.int64]) -> Iterator[Raw]:
        """Yield these records, each with its checksum checked."""
        ...


class TFRecordShard:
    """One TFRecord file, with a table of where each record begins."""

    def __init__(self, path: str, cache: OffsetCache) -> None:
        self.path = path
        self._cache = cache
        self._table: Any = None
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:  # the table is in the cache folder
        return TFRecordShard, (self.path, self._cache)

    def open(self) -> File:
        """Return the file, open for reading.

        Raises `DataError` if it is missing, or no regular file.
        """
        check_regular(self.path)
        with self._lock:
            if self._table is None:
                self._table = self._cache.table(self.path)
        return _TFRecordFile(self.path, self._table)


class _TFRecordFile:
    """A TFRecord file whose descriptor is closed when it is garbage collected."""

    def __init__(self, path: str, table: Offsets) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.held, self._ends = len(table), table.ends
        self.damage = table.damage

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, numbers: NDArray[np.int64]) -> Iterator[Raw]:
        inside = np.minimum(numbers, self.held - 1)
        starts = self._ends[inside] + HEADER
        sizes = np.where(numbers < self.held, self._ends[inside + 1] - starts, -1)
        crc_of, read, descriptor = google_crc32c.value, os.pread, self.descriptor
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            if size < 0:
                yield Unreadable(self.damage or too_few(self.held))
                continue
            stored = read(descriptor, size, start)
            record = stored[:-FOOTER]
            crc = crc_of(record)
            crc = ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF  # `masked`, for speed
            if len(stored) == size and crc == int.from_bytes(stored[-FOOTER:], "little"):
                yield record
            else:
                yield Unreadable("its checksum does not match")


class ArrayRecordShard:
    """One ArrayRecord file, read by its own reader."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> File:
        """Return the file, open for reading.

        Raises `DataError` if the file is missing or no regular file, or if its index, at the end,
        cannot be read.
        """
        check_regular(self.path)
        return _ArrayRecordFile(self.path)


class _ArrayRecordFile:
    """An ArrayRecord file; its reader checks the records' checksums."""

    damage = ""

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


def too_few(held: int) -> str:
    """Return why a record cannot be found."""
    return f"the file is damaged or cut short: {held} records can be found in it"


def more_than_told(path: str, held: int, told: int) -> DataError:
    """Return the error for a file with records that the metadata do not count."""
    return DataError(
        f"{path} holds {held} records, and the shardLengths of dataset_info.json say {told}; the "
        f"others would never be read; prepare the dataset again"
    )


Shard = TFRecordShard | ArrayRecordShard


def check_regular(path: str) -> None:
    """Raise `DataError` if there is no regular file: reading a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise missing_file(path) from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is not a regular file; prepare the dataset again")


def missing_file(path: str) -> DataError:
    """Return the error for a data file that is not there."""
    return DataError(f"{path} is missing; prepare the dataset again")
