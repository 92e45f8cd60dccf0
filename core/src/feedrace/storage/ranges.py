"""Raw records of files by number, through tables of where each of them begins."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError
from feedrace.storage.ahead import ahead
from feedrace.storage.files import File, OpenFile, Storage
from feedrace.storage.paths import is_remote
from feedrace.storage.tables import Table, TableCache

_REQUESTS = 32  # remote files that are read from at a time


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
        self._storage, self._files, self._tables, self._check, self._counts = self._arguments
        self._known_ends: NDArray[np.int64] | None = None

    def __reduce__(self) -> Any:
        return Ranges, self._arguments

    @property
    def _ends(self) -> NDArray[np.int64]:
        if self._known_ends is None:
            counts = self._counts
            if counts is None:
                counts = [held(table) + bool(table.damage) for table in self._tables]
            self._known_ends = np.cumsum(counts, dtype=np.int64)
        return self._known_ends

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a record's file, and its number in it."""
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._files[which].path, number - int(self._ends[which - 1] if which else 0)

    def read(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
        """Yield (place among `numbers`, raw record), file by file.

        A local record that cannot be read is `Unreadable`. Raises `DataError` for a file that is
        missing or has changed, and for an address that does not answer: others would not, either.
        """
        ends = self._ends
        which = np.searchsorted(ends, numbers, side="right")
        order = np.argsort(which, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)

        def records(places: NDArray[np.int64]) -> Iterator[tuple[int, Raw]]:
            number = int(which[places[0]])
            within = numbers[places] - (ends[number - 1] if number else 0)
            opened = self._storage.open(self._files[number])
            return zip(places.tolist(), self._of_file(opened, number, within), strict=True)

        if not len(numbers):
            return
        if len(groups) > 1 and is_remote(self._files[0].path):
            threads = min(_REQUESTS, len(groups))
            for made in ahead(
                lambda places: list(records(places)), groups, threads=threads, most=2 * threads
            ):
                yield from made
            return
        for places in groups:
            yield from records(places)

    def _of_file(self, opened: OpenFile, number: int, within: NDArray[np.int64]) -> Iterator[Raw]:
        """Yield these records of a file, the table of which may lack some."""
        table = self._tables[number]
        starts, sizes = table.arrays["starts"], table.arrays["sizes"]
        found = within < len(starts)
        if found.all():
            yield from self._raw(opened, starts[within], sizes[within])
            return
        lost = Unreadable(table.damage or too_few(len(starts)))
        records = self._raw(opened, starts[within[found]], sizes[within[found]])
        for is_found in found.tolist():
            yield next(records) if is_found else lost

    def _raw(
        self, opened: OpenFile, starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> Iterator[Raw]:
        at, check = 0, self._check
        while at < len(starts):
            try:
                for data in opened.read_many(starts[at:], sizes[at:]):
                    at += 1
                    yield data if check is None else check(data)
            except DataError as error:
                if is_remote(opened.file.path):
                    raise
                at += 1
                yield Unreadable(str(error))


def held(table: Table) -> int:
    """Return how many records a table has."""
    return len(table.arrays["starts"])


def too_few(records: int) -> str:
    """Return why a record cannot be found."""
    return f"the file is damaged or cut short: {records} records can be found in it"
