"""ArrayRecord files by record number, on this machine or at an address.

An ArrayRecord file is a Riegeli file: chunks of records, then a chunk that lists where each begins,
then one that says where the list is. The library reads files of this machine alone. Of a file at an
address, the chunks that are needed are copied into a small ArrayRecord file in memory, so that the
library decodes and checks them there, however they are compressed.
"""

import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError
from feedrace.storage.files import File, OpenFile, Storage, most_open_files
from feedrace.storage.paths import is_remote
from feedrace.storage.ranges import Ranges, Raw, Unreadable
from feedrace.storage.riegeli import BLOCK, Chunk, list_place, parsed, records_in, small_file
from feedrace.storage.tables import Table

_MOST_CHUNKS = 4096  # of a small file, so that its list lies in one block
_MOST_BYTES = 64 << 20
# By default it starts a thread for each of dozens of read-ahead buffers.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


def scan_array_record(opened: OpenFile) -> Table:
    """Return the table of an ArrayRecord file.

    Its arrays are int64: "records" of shape (1,), how many there are, "group" of shape (1,), how
    many lie in a chunk, the last excepted, and for a file at an address "chunks", where each begins
    and where the last one ends. Raises `DataError` for a file that is damaged or cut short.
    """
    path = opened.file.path
    try:
        if is_remote(path):
            return _remote_table(opened)
        reader = _library(path)
        told = re.search(r"group_size:(\d+)", reader.writer_options_string() or "")
        return _table(reader.num_records(), int(told[1]) if told else 1)
    except DataError:
        raise
    except (RuntimeError, LookupError, ValueError, OverflowError, struct.error) as error:
        raise DataError(f"{path} is no ArrayRecord file, or is damaged or cut short") from error


class ArrayRecords(Ranges):
    """Raw records of ArrayRecord files by number; several threads may read at a time.

    tables: what `scan_array_record` makes of each file. counts: as `Ranges` has them.
    """

    def __init__(
        self,
        storage: Storage,
        files: Sequence[File],
        tables: Sequence[Table],
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__(storage, files, tables, counts=counts)
        self._readers = _Readers()

    def __reduce__(self) -> Any:
        storage, files, tables, _, counts = self._arguments
        return ArrayRecords, (storage, files, tables, counts)

    def held(self, table: Table) -> int:
        """Return how many records of its file a table has."""
        return int(table.arrays["records"][0])

    def _found(
        self,
        opened: OpenFile,
        table: Table,
        places: NDArray[np.int64],
        within: NDArray[np.int64],
    ) -> Iterator[tuple[int, Raw]]:
        order = np.argsort(within, kind="stable")  # so that a chunk is decoded once
        if is_remote(opened.file.path):
            records = _copied(opened, table, within[order])
        else:
            records = self._local(opened.file.path, within[order])
        return zip(places[order].tolist(), records, strict=True)

    def _local(self, path: str, numbers: NDArray[np.int64]) -> Iterator[Raw]:
        reader = self._readers.borrow(path)
        try:
            for number in numbers.tolist():
                record = _read(reader, number)
                yield record
                if isinstance(record, Unreadable):
                    reader = _opened(path)  # one that failed stays failed
        finally:
            self._readers.give_back(path, reader)


class _Readers:
    """The library's readers of local files; one thread reads from each at a time."""

    def __init__(self) -> None:
        self._idle: OrderedDict[str, list[Any]] = OrderedDict()  # the latest used last
        self._count = 0
        self._most = most_open_files() // 2
        self._lock = threading.Lock()

    def borrow(self, path: str) -> Any:
        with self._lock:
            idle = self._idle.get(path)
            if idle:
                self._count -= 1
                return idle.pop()
        return _opened(path)

    def give_back(self, path: str, reader: Any) -> None:
        with self._lock:
            self._idle.setdefault(path, []).append(reader)
            self._idle.move_to_end(path)
            self._count += 1
            while self._count > self._most:
                self._count -= len(self._idle.popitem(last=False)[1])


def _opened(path: str) -> Any:
    try:
        return _library(path)
    except RuntimeError as error:
        raise DataError(f"{path} is damaged or cut short") from error


def _library(path: str) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path, _OPTIONS)
    if not reader.ok():  # it raises no error for a file whose index is damaged
        raise RuntimeError("no index")
    return reader


def _read(reader: Any, number: int) -> Raw:
    # One by one in this thread: a call for many goes through a pool whose threads spin, and takes
    # twice to three times the CPU time.
    try:
        reader.seek(number)
        record: bytes = reader.read()
    except (RuntimeError, IndexError) as error:
        return Unreadable(str(error).splitlines()[0])
    return record


def _copied(opened: OpenFile, table: Table, numbers: NDArray[np.int64]) -> Iterator[Raw]:
    """Return these records, which ascend, of a file at an address; they are on their way."""
    begins = table.arrays["chunks"]
    sizes, chunks = np.diff(begins), np.unique(numbers // table.arrays["group"][0])
    parts = [
        (some, opened.read_many(begins[some], sizes[some]))
        for some in _portions(chunks, sizes[chunks])
    ]
    return _decoded(parts, table, numbers)


def _decoded(
    parts: Sequence[tuple[NDArray[np.int64], Iterator[bytes]]],
    table: Table,
    numbers: NDArray[np.int64],
) -> Iterator[Raw]:
    """Yield records of chunks, whose numbers and bytes come in parts that fit in a small file."""
    group, begins = int(table.arrays["group"][0]), table.arrays["chunks"]
    chunk_of = numbers // group
    for some, reading in parts:
        copies = [
            (Chunk(at, data), chunk)
            for at, data, chunk in zip(begins[some].tolist(), reading, some.tolist(), strict=True)
        ]
        copies.sort(key=lambda copy: copy[0].at % BLOCK)  # so that they lie close together
        places = {chunk: place for place, (_, chunk) in enumerate(copies)}
        with small_file([chunk for chunk, _ in copies], group) as path:
            reader = _library(path)
            for number in numbers[np.isin(chunk_of, some)].tolist():
                chunk, within = divmod(number, group)
                record = _read(reader, places[chunk] * group + within)
                yield record
                if isinstance(record, Unreadable):
                    reader = _library(path)


def _portions(chunks: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the chunks in parts that fit in a small file."""
    begin = 0
    while begin < len(chunks):
        fitting = int(np.searchsorted(np.cumsum(sizes[begin:]), _MOST_BYTES, side="right"))
        end = begin + min(max(1, fitting), _MOST_CHUNKS)
        yield chunks[begin:end]
        begin = end


def _remote_table(opened: OpenFile) -> Table:
    """Return the table of a file, from its end; raise `ValueError` and such if it is damaged."""
    last = opened.file.size - BLOCK
    if last < BLOCK:
        raise ValueError("too short")
    at = list_place(opened.read(last, BLOCK))
    if not 0 < at < last:
        raise ValueError("no list of chunks")
    list_of_chunks = opened.read(at, last - at)
    count = records_in(at, list_of_chunks)
    with small_file([Chunk(at, list_of_chunks)], count) as path:
        reader = _library(path)
        reader.read()  # what the rows say together
        rows = [parsed(reader.read()) for _ in range(count - 1)]
    return _checked_table(rows, at)


def _checked_table(rows: Sequence[dict[int, int]], end: int) -> Table:
    begins = np.array([*(row[1] for row in rows), end], np.int64)
    counts = np.array([row[3] for row in rows], np.int64)
    group = int(counts[0]) if len(rows) else 1
    if np.any(np.diff(begins) <= 0) or np.any(counts[:-1] != group) or np.any(counts[-1:] > group):
        raise ValueError("the list of chunks contradicts itself")
    return _table(int(counts.sum()), group, chunks=begins)


def _table(records: int, group: int, **arrays: NDArray[np.int64]) -> Table:
    found = {"records": np.array([records], np.int64), "group": np.array([group], np.int64)}
    return Table({**found, **arrays})
