"""Raw records of files by number, through tables of where each of them begins."""

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import length_hint
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError
from feedrace.storage.files import File, OpenFile, Storage
from feedrace.storage.paths import is_remote
from feedrace.storage.tables import Table, TableCache

_FILES = 32  # remote ones from which records are on their way at a time


class Unreadable(NamedTuple):
    """What stands in place of a record that cannot be read, and why."""

    reason: str


Raw = bytes | Unreadable
Check = Callable[[bytes], Raw]


class Tables(Sequence[Table]):
    """The tables of some files, which `TableCache.tables` loads, or makes, when one is needed.

    Pickled, they are left behind if the cache folder has them; `scan` then is a function that can
    be pickled. Any thread may ask for one. Raises what `TableCache.tables` raises.
    """

    def __init__(
        self,
        cache: TableCache,
        kind: str,
        files: Sequence[File],
        scan: Callable[[OpenFile], Table],
        *,
        version: int = 1,
        loaded: Sequence[Table] | None = None,
    ) -> None:
        self._arguments = cache, kind, tuple(files), scan
        self._version = version
        self._loaded = loaded
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        kept = self._arguments[0].writable and not any(t.damage for t in self._loaded or ())
        return _unpickled, (self._arguments, self._version, None if kept else self._loaded)

    def __len__(self) -> int:
        return len(self._arguments[2])

    def __getitem__(self, number: Any) -> Any:
        with self._lock:
            if self._loaded is None:
                cache, kind, files, scan = self._arguments
                self._loaded = cache.tables(kind, files, scan, version=self._version)
        return self._loaded[number]


def _unpickled(arguments: Any, version: int, loaded: Sequence[Table] | None) -> Tables:
    return Tables(*arguments, version=version, loaded=loaded)


class Numbered:
    """Records of several files, numbered through all of them.

    counts: how many records each file has.
    """

    def __init__(self, paths: Sequence[str], counts: Sequence[int]) -> None:
        self._paths = paths
        self._ends = np.cumsum(counts, dtype=np.int64)
        self.begins = self._ends - np.asarray(counts, np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it."""
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._paths[which], number - int(self.begins[which])

    def files_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place, among the files, of the file of each record."""
        return np.searchsorted(self._ends, numbers, side="right")

    def by_file(
        self, numbers: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield, for each file that is needed: its place, places among `numbers`, numbers in it."""
        files = self.files_of(numbers)
        order = np.argsort(files, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(files[order])) + 1):
            if len(places):
                file = int(files[places[0]])
                yield file, places, numbers[places] - self.begins[file]


class Ranges:
    """Raw records of some files by number; several threads may read at a time.

    tables: one for each file, with int64 arrays "starts" and "sizes", one entry a record; `Tables`
        loads them when they are needed, and a pickled `Ranges` leaves those behind.
    check: makes the record of the bytes that lie there, or an `Unreadable` of damaged ones.
    counts: how many records each file should hold; None for as many as its table has, and one
        more, which cannot be read, for the rest of a damaged file.
    """

    def __init__(
        self,
        storage: Storage,
        files: Sequence[File],
        tables: Sequence[Table],
        check: Check | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self._arguments = storage, files, tables, check, counts
        self._storage, self.files, self.tables, self._check, self._counts = self._arguments

    def __reduce__(self) -> Any:
        return Ranges, self._arguments

    @functools.cached_property
    def _numbered(self) -> Numbered:
        counts = self._counts
        if counts is None:
            counts = [self.held(table) + bool(table.damage) for table in self.tables]
        return Numbered([file.path for file in self.files], counts)

    def __len__(self) -> int:
        return len(self._numbered)

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it."""
        return self._numbered.locate(number)

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        A local record that cannot be read is `Unreadable`. Raises `DataError` for a file that is
        missing or has changed, and for an address that does not answer: others would not, either.
        """
        most = _FILES if is_remote(self.files[0].path) else 1
        begun: deque[Iterator[tuple[int, Raw]]] = deque()
        for group in self._numbered.by_file(numbers):
            begun.append(self._begun(*group))
            if len(begun) == most:
                yield from begun.popleft()
        for part in begun:
            yield from part

    def held(self, table: Table) -> int:
        """Return how many records of its file a table has."""
        return len(table.arrays["starts"])

    def _begun(
        self, number: int, places: NDArray[np.int64], within: NDArray[np.int64]
    ) -> Iterator[tuple[int, Raw]]:
        """Return these records of a file, the table of which may lack some."""
        opened, table = self._storage.open(self.files[number]), self.tables[number]
        found = within < self.held(table)
        if found.all():
            return self._found(opened, table, places, within)
        lost = Unreadable(table.damage or too_few(self.held(table)))
        missing = [(place, lost) for place in places[~found].tolist()]
        if not found.any():
            return iter(missing)
        return itertools.chain(missing, self._found(opened, table, places[found], within[found]))

    def _found(
        self, opened: OpenFile, table: Table, places: NDArray[np.int64], within: NDArray[np.int64]
    ) -> Iterator[tuple[int, Raw]]:
        """Return these records, all of which the table has; remote ones are on their way."""
        starts, sizes = table.arrays["starts"][within], table.arrays["sizes"][within]
        return self._checked(opened, places, starts, sizes, opened.read_many(starts, sizes))

    def _checked(
        self,
        opened: OpenFile,
        places: NDArray[np.int64],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
        reading: Iterator[bytes],
    ) -> Iterator[tuple[int, Raw]]:
        left = iter(places.tolist())
        while True:
            try:  # for speed, without a step of Python for each record
                records = reading if self._check is None else map(self._check, reading)
                yield from zip(left, records, strict=True)
                return
            except DataError as error:
                if is_remote(opened.file.path):
                    raise
                at = len(places) - length_hint(left)  # what follows the one that failed
                yield int(places[at - 1]), Unreadable(str(error))
                reading = opened.read_many(starts[at:], sizes[at:])


def too_few(records: int) -> str:
    """Return why a record cannot be found."""
    return f"the file is damaged or cut short: {records} records can be found in it"
