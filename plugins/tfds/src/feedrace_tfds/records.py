"""Raw records of a split by number, however they are stored."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    DataError,
    File,
    Numbered,
    Ranges,
    Raw,
    Storage,
    TableCache,
    Tables,
    check_tfrecord,
    clipped,
    is_remote,
    scan_tfrecord,
)
from feedrace_tfds.array_records import ArrayRecords
from feedrace_tfds.in_order import InOrder, parquet_records
from feedrace_tfds.told import check_count


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
    """

    concurrent = True

    def __init__(self, parts: Sequence[Part], records: Ranges | ArrayRecords, way: str) -> None:
        self._arguments = parts, records, way
        self._records, self.way = records, way
        self._parts = numbered(parts)
        files = {part.file: part.held for part in parts}
        begins = dict(zip(files, np.cumsum([0, *files.values()]).tolist(), strict=False))
        within = np.array([begins[part.file] + part.skip for part in parts], np.int64)
        self._shifts = within - self._parts.begins

    def __reduce__(self) -> Any:
        return Addressed, self._arguments

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        Raises `DataError` for a file that is missing or cannot be opened, and for one that does not
        hold as many records as the dataset's metadata say.
        """
        return self._records.read(numbers + self._shifts[self._parts.files_of(numbers)])


class TFRecords(Ranges):
    """The records of TFRecord files.

    counts: the files, and how many records each should hold.
    whole: whether a file that holds too few is an error before any record is read.
    """

    def __init__(
        self, storage: Storage, tables: Tables, counts: Mapping[File, int], whole: bool
    ) -> None:
        super().__init__(storage, tuple(counts), tables, check_tfrecord, tuple(counts.values()))
        self._made_of = storage, tables, counts, whole
        self._checked = False

    def __reduce__(self) -> Any:
        return TFRecords, self._made_of

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        if not self._checked:
            _, tables, counts, whole = self._made_of
            for table, (file, told) in zip(tables, counts.items(), strict=True):
                held = len(table.arrays["starts"])
                check_count(file.path, held, told, whole=whole, damage=table.damage)
            self._checked = True
        return super().read(numbers)


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
    counts = {part.file: part.held for part in parts}
    if file_format == "tfrecord":
        tables = Tables(cache, "tfrecord", tuple(counts), scan_tfrecord)
        records = TFRecords(cache.storage, tables, counts, whole)
        return Addressed(parts, records, "by number, through a table of record offsets")
    if file_format == "array_record" and not is_remote(parts[0].file.path):
        indexed = ArrayRecords(cache.storage, counts, whole)
        return Addressed(parts, indexed, "by number, through the files' own index")
    if file_format == "parquet":
        read = functools.partial(parquet_records, cache.storage)
        return InOrder(parts, read, window, "parquet files have no index")
    raise DataError(
        f"{file_format} files cannot be read at {parts[0].file.path}; copy ArrayRecord files to a "
        f"local folder, and prepare other formats as tfrecord (download_and_prepare_kwargs = "
        f"{{file_format = ...}})"
    )
