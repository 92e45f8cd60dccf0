"""Raw records of a split by number, wherever and however they are stored."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, check_numbers, clipped
from feedrace_tfds.in_order import InOrder, format_reader, remote_tfrecord
from feedrace_tfds.offsets import OffsetCache
from feedrace_tfds.paths import is_remote
from feedrace_tfds.shards import (
    ArrayRecordShard,
    File,
    Raw,
    Shard,
    TFRecordShard,
    more_than_told,
    too_few,
)


class Part(NamedTuple):
    """What a split takes from one file: `take` records after the first `skip`.

    held: how many records the dataset's metadata say that the file holds.
    """

    path: str
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
    _ends: NDArray[np.int64] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _ends(self.parts), takes_self=True)
    )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def check(self, numbers: NDArray[np.int64]) -> None:
        """Raise `DataError` for a number out of range."""
        check_numbers(numbers, len(self))

    def locate(self, number: int) -> tuple[str, int]:
        """Return the file of a record, and its number in it."""
        which = int(np.searchsorted(self._ends, number, side="right"))
        part = self.parts[which]
        return part.path, int(number - (self._ends[which] - part.take) + part.skip)


def _ends(parts: Sequence[Part]) -> NDArray[np.int64]:
    return np.cumsum([part.take for part in parts], dtype=np.int64)


class Addressed:
    """Reads records from anywhere in local files, several threads at a time.

    shards: the files of the parts, by path.
    whole: whether a file that holds too few records is an error before any of them is read.
    """

    concurrent = True

    def __init__(
        self, parts: Sequence[Part], shards: Mapping[str, Shard], whole: bool, way: str
    ) -> None:
        self._parts = parts
        self._ends = _ends(parts)
        self._shards = shards
        self._whole = whole
        self._idle: OrderedDict[str, list[File]] = OrderedDict()  # the latest used last
        self._open = 0  # how many are idle
        self._lock = threading.Lock()
        self._most = _most_open_files()
        self.way = way

    def __reduce__(self) -> Any:
        return Addressed, (self._parts, self._shards, self._whole, self.way)

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        Raises `DataError` for a file that is missing or cannot be opened, and for one that does not
        hold as many records as the dataset's metadata say.
        """
        which = np.searchsorted(self._ends, numbers, side="right")
        order = np.argsort(which, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(which[order])) + 1):
            if not len(places):
                continue
            number = which[places[0]]
            part = self._parts[number]
            within = numbers[places] - (self._ends[number] - part.take) + part.skip
            file = self._borrowed(part)
            try:
                yield from zip(places.tolist(), file.read(within), strict=True)
            finally:
                self._give_back(part.path, file)

    def _borrowed(self, part: Part) -> File:
        """Return an open file that no other thread reads from."""
        with self._lock:
            idle = self._idle.get(part.path)
            if idle:
                self._open -= 1
                return idle.pop()
        file = self._shards[part.path].open()
        if file.held > part.held:
            raise more_than_told(part.path, file.held, part.held)
        if self._whole and file.held < part.held:
            reason = file.damage or too_few(file.held)
            raise DataError(f"{part.path}: {reason}; prepare the dataset again")
        return file

    def _give_back(self, path: str, file: File) -> None:
        with self._lock:
            self._idle.setdefault(path, []).append(file)
            self._idle.move_to_end(path)
            self._open += 1
            while self._open > self._most:
                self._open -= len(self._idle.popitem(last=False)[1])


def _most_open_files() -> int:
    """Return how many files to keep open: half of what the process is allowed."""
    if sys.platform == "win32":
        return 256
    import resource

    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 4096 if allowed == resource.RLIM_INFINITY else max(16, min(4096, allowed // 2))


def open_records(
    builder: Any, split: str, *, cache: OffsetCache, window: int, whole: bool
) -> Records:
    """Return the raw records of a split of a prepared dataset.

    whole: whether a file that holds too few records is an error before any of them is read.
    window: within how many records the source's order shuffles, if files are read in order.

    Raises `DataError` for a split that does not exist or is empty, and for a file that is missing.
    """
    splits = builder.info.splits
    try:
        instructions = splits[split].file_instructions
    except (KeyError, ValueError, AssertionError, NotImplementedError) as error:
        raise DataError(
            f"dataset {builder.info.full_name} has no split {clipped(split)} ({error}); "
            f"it has {', '.join(sorted(splits))}"
        ) from error
    parts = [
        Part(str(i.filename), i.skip, i.take, i.examples_in_shard)
        for i in instructions
        if i.take > 0
    ]
    if not parts:
        raise DataError(f"split {clipped(split)} of {builder.info.full_name} has no records")
    file_format = builder.info.file_format.value
    return Records(parts, make_reader(parts, file_format, cache, window, whole))


def make_reader(
    parts: Sequence[Part], file_format: str, cache: OffsetCache, window: int, whole: bool
) -> Reader:
    """Return what reads these files; raise `DataError` for a format that cannot be read."""
    remote = is_remote(parts[0].path)
    if file_format == "tfrecord" and not remote:
        tables = {part.path: TFRecordShard(part.path, cache) for part in parts}
        way = "by number, through a table of record offsets"
        return Addressed(parts, tables, whole, way)
    if file_format == "array_record" and not remote:
        indexed = {part.path: ArrayRecordShard(part.path) for part in parts}
        return Addressed(parts, indexed, whole, "by number, through the files' own index")
    where = (
        f"the files are at {parts[0].path.partition('://')[0]}://"
        if remote
        else f"{file_format} files have no index"
    )
    read = remote_tfrecord if file_format == "tfrecord" else format_reader(file_format)
    return InOrder(parts, read, window, where)
