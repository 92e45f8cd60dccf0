"""Files of raw records that can be read by number: TFRecord and ArrayRecord."""

import os
import threading
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError
from feedrace_tfds.offsets import FOOTER, HEADER, OffsetCache, masked


class Unreadable(NamedTuple):
    """What stands in place of a record that cannot be read."""

    reason: str


Raw = bytes | Unreadable


class TFRecordShard:
    """One TFRecord file, with a table of where each record begins."""

    def __init__(self, path: str, cache: OffsetCache) -> None:
        self.path = path
        self._cache = cache
        self._table: Any = None
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:  # the table is in the cache folder
        return TFRecordShard, (self.path, self._cache)

    def open(self) -> "_File":
        """Return the file, open for reading.

        Raises `DataError` if it is missing.
        """
        try:
            with self._lock:
                if self._table is None:
                    self._table = self._cache.table(self.path)
            return _File(self.path)
        except FileNotFoundError as error:
            raise missing_file(self.path) from error

    def read(self, file: "_File", numbers: NDArray[np.int64]) -> list[Raw]:
        """Return these records of the open file; each one's checksum is checked."""
        ends, count = self._table.ends, len(self._table)
        beyond = int(numbers.max()) >= count
        inside = np.minimum(numbers, count - 1) if beyond else numbers
        if count == 0:
            return [self._absent()] * len(numbers)
        starts = ends[inside] + HEADER
        sizes = ends[inside + 1] - starts
        crc, read, descriptor = google_crc32c.value, os.pread, file.descriptor
        raw: list[Raw] = []
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            stored = read(descriptor, size, start)
            record = stored[:-FOOTER]
            good = len(stored) == size and (
                masked(crc(record)) == int.from_bytes(stored[-FOOTER:], "little")
            )
            raw.append(record if good else Unreadable("its checksum does not match"))
        if beyond:
            for slot in np.flatnonzero(numbers >= count).tolist():
                raw[slot] = self._absent()
        return raw

    def damage(self, file: "_File", needed: int) -> str:
        """Return why the open file cannot give so many records, or ""."""
        return "" if len(self._table) >= needed else self._absent().reason

    def _absent(self) -> Unreadable:
        return Unreadable(self._table.damage or _too_few(len(self._table)))


class _File:
    """A file descriptor that is closed when it is garbage collected."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class ArrayRecordShard:
    """One ArrayRecord file, read by its own reader."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> Any:
        """Return the reader.

        Raises `DataError` if the file is missing, or its index, at the end, cannot be read.
        """
        from array_record.python.array_record_module import ArrayRecordReader

        if not os.path.exists(self.path):
            raise missing_file(self.path)
        try:
            # By default it starts a thread for each of dozens of read-ahead buffers.
            return ArrayRecordReader(self.path, "readahead_buffer_size:0,max_parallelism:0")
        except RuntimeError as error:
            raise DataError(
                f"{self.path} is damaged or cut short; prepare the dataset again"
            ) from error

    def read(self, reader: Any, numbers: NDArray[np.int64]) -> list[Raw]:
        """Return these records; the reader checks their checksums."""
        try:
            return list(reader.read(numbers.tolist()))
        except (RuntimeError, IndexError):
            return [self._read_one(reader, number) for number in numbers.tolist()]

    def damage(self, reader: Any, needed: int) -> str:
        """Return why the open file cannot give so many records, or ""."""
        held = reader.num_records()
        return "" if held >= needed else _too_few(held)

    def _read_one(self, reader: Any, number: int) -> Raw:
        if number >= reader.num_records():
            return Unreadable(_too_few(reader.num_records()))
        try:
            record: bytes = reader.read([number])[0]
        except (RuntimeError, IndexError) as error:
            return Unreadable(str(error).splitlines()[0])
        return record


def _too_few(held: int) -> str:
    return f"the file is damaged or cut short: {held} records can be found in it"


Shard = TFRecordShard | ArrayRecordShard


def missing_file(path: str) -> DataError:
    """Return the error for a data file that is not there."""
    return DataError(f"{path} is missing; prepare the dataset again")
