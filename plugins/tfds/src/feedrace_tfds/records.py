"""Raw records of a split by number, however they are stored."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    ArrayRecords,
    DataError,
    File,
    Numbered,
    OpenFile,
    Ranges,
    Raw,
    Table,
    TableCache,
    Tables,
    check_tfrecord,
    clipped,
    is_remote,
    scan_array_record,
    scan_tfrecord,
    too_few,
)
from feedrace_tfds.in_order import InOrder, more_than_told, parquet_records


class Part(NamedTuple):
    """What a split takes from one file: `take` records after the first `skip`.

    held: how many records the dataset's metadata say that the file holds.
    """

    file: File
    skip: int
    take: int
    held: int


class Reader(Protocol):
    """Gives raw records by number; several threads may read at a time.

    concurrent: whether that is faster.
    way: a sentence on how records are found.

    A pickled one opens its files anew.
    """

    concurrent: bool
    way: str

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield the place of a number among `numbers`, and its raw record, for each of them."""
        ...


@attrs.frozen(eq=False)
class Records:
    """The raw records of one split."""

    parts: Sequence[Part]
    reader: Reader
    _numbered: Numbered = attrs.field(
        init=False, default=attrs.Factory(lambda self: numbered(self.parts), takes_self=True)
    )

    def __len__(self) -> int:
        return len(self._numbered)

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record) for each of them."""
        return self.reader.read(numbers)

    def locate(self, number: int) -> tuple[str, int]:
        """Return the file of a record, and its number in it."""
        path, record = self._numbered.locate(number)
        return path, record + self.parts[int(self._numbered.files_of(np.array(number)))].skip


def numbered(parts: Sequence[Part]) -> Numbered:
    """Return the numbers of a split's records through its parts."""
    return Numbered([part.file.path for part in parts], [part.take for part in parts])


class Addressed:
    """Reads records of a split from anywhere in its files, several threads at a time.

    records: those of the files, each of which is there once and counts as many as `held` says.
    whole: whether a file that holds too few records is an error before any of them is read.
    """

    concurrent = True

    def __init__(self, parts: Sequence[Part], records: Ranges, whole: bool, way: str) -> None:
        self._arguments = parts, records, whole, way
        self._records, self._whole, self.way = records, whole, way
        self._parts, self._told = numbered(parts), counts_of(parts)
        begins = dict(zip(self._told, np.cumsum([0, *self._told.values()]).tolist(), strict=False))
        within = np.array([begins[part.file] + part.skip for part in parts], np.int64)
        self._shifts = within - self._parts.begins
        self._checked = False

    def __reduce__(self) -> Any:
        return Addressed, self._arguments

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        Raises `DataError` for a file that is missing or cannot be opened, and for one that does not
        hold as many records as the dataset's metadata say.
        """
        if not self._checked:
            self._check()
        return self._records.read(numbers + self._shifts[self._parts.files_of(numbers)])

    def _check(self) -> None:
        for table, (file, told) in zip(self._records.tables, self._told.items(), strict=True):
            held = self._records.held(table)
            if held > told:
                raise more_than_told(file.path, held, told)
            if self._whole and held < told:
                reason = table.damage or too_few(held)
                raise DataError(f"{file.path}: {reason}; prepare the dataset again")
        self._checked = True


def scan_chunks(opened: OpenFile) -> Table:
    """Return the table of an ArrayRecord file: no record of a local one that is damaged."""
    try:
        return scan_array_record(opened)
    except DataError:
        if is_remote(opened.file.path):  # it may be the network
            raise
        none = {"records": np.zeros(1, np.int64)}
        return Table(none, "the file is damaged or cut short, and its index cannot be read")


def counts_of(parts: Sequence[Part]) -> dict[File, int]:
    """Return how many records each file should hold."""
    return {part.file: part.held for part in parts}


def open_records(
    builder: Any, split: str, cache: TableCache, *, folder: str, window: int, whole: bool
) -> Records:
    """Return the raw records of a split of a prepared dataset.

    folder: that the files are in, or its address.
    whole: whether a file that holds too few records is an error before any of them is read.
    window: within how many records the source's order shuffles, if files are read in order.

    Raises `DataError` for a split that does not exist or is empty, and for a file that is missing.
    """
    splits = builder.info.splits
    try:
        instructions = [i for i in splits[split].file_instructions if i.take > 0]
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise DataError(
            f"dataset {builder.info.full_name} has no split {clipped(split)} ({error}); "
            f"it has {', '.join(sorted(splits))}"
        ) from error
    if not instructions:
        raise DataError(f"split {clipped(split)} of {builder.info.full_name} has no records")
    paths = [f"{folder}/{os.path.basename(i.filename)}" for i in instructions]
    different = list(dict.fromkeys(paths))
    try:
        files = dict(zip(different, cache.storage.find(different), strict=True))
    except DataError as error:
        reason = str(error).partition(";")[0]  # without the name of another file to give
        raise DataError(f"{reason}; prepare the dataset again") from error
    parts = [
        Part(files[path], i.skip, i.take, i.examples_in_shard)
        for path, i in zip(paths, instructions, strict=True)
    ]
    return Records(parts, make_reader(parts, builder.info.file_format.value, cache, window, whole))


def make_reader(
    parts: Sequence[Part], file_format: str, cache: TableCache, window: int, whole: bool
) -> Reader:
    """Return what reads these files; raise `DataError` for a format that cannot be read."""
    told = counts_of(parts)
    storage, files, counts = cache.storage, tuple(told), tuple(told.values())
    if file_format == "tfrecord":
        tables = Tables(cache, "tfrecord", files, scan_tfrecord)
        records = Ranges(storage, files, tables, check_tfrecord, counts)
        return Addressed(parts, records, whole, "by number, through a table of record offsets")
    if file_format == "array_record":
        remote = is_remote(files[0].path)
        kind = "array-record-chunks" if remote else "array-record"
        records = ArrayRecords(storage, files, Tables(cache, kind, files, scan_chunks), counts)
        way = "a table of their chunks" if remote else "the files' own index"
        return Addressed(parts, records, whole, f"by number, through {way}")
    if file_format == "parquet":
        read = functools.partial(parquet_records, storage)
        return InOrder(parts, read, window, "parquet files have no index")
    raise DataError(
        f"{file_format} files cannot be read here; prepare them as tfrecord or array_record "
        f"(download_and_prepare_kwargs = {{file_format = ...}})"
    )
