"""Samples in tar files by number, without JAX."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    Arrays,
    DataError,
    Failure,
    File,
    Layout,
    Leaf,
    Numbered,
    Ranges,
    Storage,
    Table,
    clipped,
)
from feedrace_files.tar_index import names_in

KEY = "key"  # the field of the samples' names
_RULES = {"cls": "a whole number that an int32 holds", "txt": "UTF-8"}


class TarContent:
    """The samples of some tars, in the order of the files.

    columns: `key`, and extensions.
    """

    def __init__(
        self,
        storage: Storage,
        files: Sequence[File],
        tables: Sequence[Table],
        columns: Sequence[str],
    ) -> None:
        self._arguments = storage, files, tables, columns
        self._files, self._tables = files, tables
        self._members = Ranges(storage, files, tables)
        self._extensions = [name for name in columns if name != KEY]
        self.layout = Layout(tuple(Leaf((n,), (), _dtype(n)) for n in columns))
        self._leaves = {name: number for number, name in enumerate(columns)}
        self._samples: dict[int, _Samples] = {}

    def __reduce__(self) -> Any:
        return TarContent, self._arguments

    @functools.cached_property
    def _numbered(self) -> Numbered:
        """The numbers of the samples; one more stands for what is damaged."""
        return self._numbers("ends")

    @functools.cached_property
    def _first_members(self) -> NDArray[np.int64]:
        """What `_members` numbers the first file of each tar."""
        return self._numbers("starts").begins

    def _numbers(self, array: str) -> Numbered:
        counts = [len(table.arrays[array]) + bool(table.damage) for table in self._tables]
        return Numbered([file.path for file in self._files], counts)

    def __len__(self) -> int:
        return len(self._numbered)

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of a sample's tar, and its number in it."""
        return self._numbered.locate(number)

    def check_whole(self) -> None:
        """Raise `DataError` for the first sample that lacks a field."""
        for which, (file, table) in enumerate(zip(self._files, self._tables, strict=True)):
            count, names = len(table.arrays["ends"]), names_in(table.arrays["extensions"])
            wanted = np.array([name in self._extensions for name in names], bool)
            held = np.count_nonzero(wanted[table.arrays["extension"]])
            if held == count * len(self._extensions):  # a sample has an extension once at the most
                continue
            for within in range(count):
                try:
                    self._of(which).row(within)
                except DataError as error:
                    raise DataError(
                        f"{file.path}: {error}, or such samples with on_error = 'skip'"
                    ) from None

    def load(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Put samples into slots; return which slots failed, and why."""
        failures: dict[int, Exception] = {}
        slots: list[int] = []  # of the samples that are whole
        members: list[NDArray[np.int64]] = []  # the numbers of their files, a row each
        keys = arrays.values[self._leaves[KEY]] if KEY in self._leaves else None
        for which, places, places_in_tar in self._numbered.by_file(numbers):
            samples, first = self._of(which), self._first_members[which]
            for slot, within in zip(places.tolist(), places_in_tar.tolist(), strict=True):
                try:
                    members.append(first + samples.row(within))
                except DataError as error:
                    failures[slot] = error
                    continue
                slots.append(slot)
                if keys is not None:
                    keys[slot] = samples.keys[within]
        if members and self._extensions:
            self._read(slots, np.concatenate(members), arrays, failures)
        return list(failures.items())

    def _read(
        self,
        slots: Sequence[int],
        members: NDArray[np.int64],
        arrays: Arrays,
        failures: dict[int, Exception],
    ) -> None:
        """Put files into the slots of their samples."""
        for place, raw in self._members.read(members):
            sample, column = divmod(place, len(self._extensions))
            slot, extension = slots[sample], self._extensions[column]
            try:
                if not isinstance(raw, bytes):
                    raise DataError(raw.reason)
                arrays.values[self._leaves[extension]][slot] = _value(extension, raw)
            except DataError as error:
                failures.setdefault(slot, error)
            except (ValueError, OverflowError):
                message = f"{extension} holds {clipped(raw)}, which is not {_RULES[extension]}"
                failures.setdefault(slot, DataError(message))

    def _of(self, which: int) -> "_Samples":
        """Return the samples of one tar."""
        if which not in self._samples:
            self._samples[which] = _Samples(self._tables[which], self._extensions)
        return self._samples[which]

    def describe(self) -> list[str]:
        """Return a sentence on how samples are found."""
        return ["samples are found by number, through a table of the files in each tar"]


class _Samples:
    """The samples of one tar."""

    def __init__(self, table: Table, extensions: Sequence[str]) -> None:
        self._table, self._extensions = table, extensions
        arrays = table.arrays
        known = {name: number for number, name in enumerate(extensions)}
        columns = np.array([known.get(n, -1) for n in names_in(arrays["extensions"])], np.int64)
        column = columns[arrays["extension"]]
        counts = np.diff(arrays["ends"], prepend=0)
        sample = np.repeat(np.arange(len(counts)), counts)
        self._members = np.full((len(counts), len(extensions)), -1)
        wanted = column >= 0
        self._members[sample[wanted], column[wanted]] = np.flatnonzero(wanted)
        self._whole: NDArray[np.bool_] = np.all(self._members >= 0, axis=1)

    @functools.cached_property
    def keys(self) -> list[str]:
        """The names of the samples."""
        return names_in(self._table.arrays["keys"])

    def row(self, within: int) -> NDArray[np.int64]:
        """Return the numbers of a sample's files; raise `DataError` if it lacks one."""
        if within == len(self._members):
            raise DataError(self._table.damage)
        row: NDArray[np.int64] = self._members[within]
        if not self._whole[within]:
            lacking = [n for n, member in zip(self._extensions, row, strict=True) if member < 0]
            raise DataError(
                f"sample {clipped(self.keys[within])} lacks {', '.join(lacking)}, which others "
                f"have; complete it, or leave the field out with columns"
            )
        return row


def _dtype(field: str) -> "np.dtype[Any]":
    return np.dtype(np.int32) if field == "cls" else np.dtype(object)


def _value(extension: str, raw: bytes) -> Any:
    if extension == "cls":
        return np.int32(int(raw))
    return raw.decode() if extension == "txt" else raw
