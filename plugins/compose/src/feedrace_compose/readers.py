"""Reading records of composed sources: numpy alone, for workers; several threads at a time."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, LeafSpec, check_numbers, map_leaves, protocols

Numbers = NDArray[np.int64]
Make = Callable[[dict[str, Any]], dict[str, Any] | DataError]


class Selection(Protocol):
    """Which record of a source each record of a composed one is; it can be pickled."""

    @property
    def length(self) -> int:
        """How many records the composed source has."""

    def __call__(self, numbers: Numbers) -> Numbers:
        """Return the source's record numbers for numbers from 0 to below `length`."""
        raise NotImplementedError


@attrs.frozen(eq=False)
class Skips:
    """Reads from some sources or their readers, and passes on what they leave out and note."""

    sources: Sequence[Any]

    def noted(self) -> list[Any]:
        """Return (number of the source, what it noted) for each that noted something."""
        noting = functools.partial(protocols.provides, protocol=protocols.Noting)
        found = [(i, one.noted()) for i, one in enumerate(self.sources) if noting(one)]
        return [(i, items) for i, items in found if items]


def invalid(source: Any, numbers: Numbers) -> NDArray[np.bool_]:
    """Return which of the records that a source or reader fetched last are blank."""
    if not protocols.provides(source, protocols.Skipping):
        return np.zeros(len(numbers), bool)
    rows: NDArray[np.bool_] = np.asarray(source.invalid_rows(numbers), bool)
    return rows


def tolerate(source: Any, number: int, error: DataError, make: Make) -> dict[str, Any] | None:
    """Ask a reader what stands in for a record that a stage failed on, as `Tolerating` says."""
    if not protocols.provides(source, protocols.Tolerating):
        raise error
    return source.tolerate(number, error, make)  # type: ignore[no-any-return]


@attrs.frozen(eq=False)
class SelectedReader(Skips):
    """Reads selected records of one source."""

    select: Selection

    def fetch(self, indices: Numbers) -> dict[str, Any]:
        """Return these records; raise `DataError` for a number out of range."""
        return self.sources[0].fetch(self._numbers(indices))  # type: ignore[no-any-return]

    def invalid_rows(self, indices: Numbers) -> NDArray[np.bool_]:
        """Return which of the records fetched last are blank."""
        return invalid(self.sources[0], self._numbers(indices))

    def tolerate(self, number: int, error: DataError, make: Make) -> dict[str, Any] | None:
        """Return what the source puts in place of a record that a stage failed on."""
        return tolerate(self.sources[0], int(self._numbers(np.array([number]))[0]), error, make)

    def _numbers(self, indices: Numbers) -> Numbers:
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, self.select.length)
        return self.select(numbers)


@attrs.frozen(eq=False)
class ZippedReader(Skips):
    """Reads the records of one number from several sources into one."""

    def fetch(self, indices: Numbers) -> dict[str, Any]:
        """Return these records, with the fields of all sources."""
        return {name: v for one in self.sources for name, v in one.fetch(indices).items()}

    def invalid_rows(self, indices: Numbers) -> NDArray[np.bool_]:
        """Return which of the records fetched last are blank in one of the sources."""
        blank: NDArray[np.bool_] = np.any([invalid(one, indices) for one in self.sources], axis=0)
        return blank


@attrs.frozen(eq=False)
class JoinedReader(Skips):
    """Reads records of several sources, one after another.

    starts: int64 (sources + 1,), the number of each source's first record, and of all records.
    lacking: for each source the specs of the fields that it lacks, by name.
    """

    starts: Numbers
    lacking: Sequence[dict[str, Any]]

    def fetch(self, indices: Numbers) -> dict[str, Any]:
        """Return these records; raise `DataError` for a number out of range."""
        numbers = np.asarray(indices, np.int64)
        check_numbers(numbers, int(self.starts[-1]))
        groups = self._groups(numbers)
        pieces = [self._piece(i, numbers[rows] - self.starts[i]) for i, rows in groups]
        if len(pieces) == 1:
            return pieces[0]
        places = [rows for _, rows in groups]

        def joined(*leaves: Any) -> Any:
            arrays = [np.asarray(leaf) for leaf in leaves]
            whole = np.empty((len(numbers), *arrays[0].shape[1:]), np.result_type(*arrays))
            for rows, array in zip(places, arrays, strict=True):
                whole[rows] = array
            return whole

        records: dict[str, Any] = map_leaves(joined, pieces[0], *pieces[1:])
        return records

    def invalid_rows(self, indices: Numbers) -> NDArray[np.bool_]:
        """Return which of the records fetched last are blank."""
        numbers = np.asarray(indices, np.int64)
        blank = np.zeros(len(numbers), bool)
        for i, rows in self._groups(numbers):
            blank[rows] = invalid(self.sources[i], numbers[rows] - self.starts[i])
        return blank

    def tolerate(self, number: int, error: DataError, make: Make) -> dict[str, Any] | None:
        """Return what the record's source puts in its place, if a stage failed on it."""
        i = int(np.searchsorted(self.starts, number, side="right")) - 1

        def filled(records: dict[str, Any]) -> dict[str, Any] | DataError:
            return make(self._filled(i, records, 1))

        return tolerate(self.sources[i], number - int(self.starts[i]), error, filled)

    def _groups(self, numbers: Numbers) -> list[tuple[int, Any]]:
        """Return (source, rows) for each source that has some of the numbers."""
        owners = np.searchsorted(self.starts, numbers, side="right") - 1
        if not len(owners) or (owners == owners[0]).all():
            return [(int(owners[0]) if len(owners) else 0, slice(None))]
        order = np.argsort(owners, kind="stable")
        found, firsts = np.unique(owners[order], return_index=True)
        return [(int(i), rows) for i, rows in zip(found, np.split(order, firsts[1:]), strict=True)]

    def _piece(self, i: int, numbers: Numbers) -> dict[str, Any]:
        return self._filled(i, self.sources[i].fetch(numbers), len(numbers))

    def _filled(self, i: int, records: dict[str, Any], count: int) -> dict[str, Any]:
        if not self.lacking[i]:
            return records
        return {**records, **map_leaves(lambda leaf: filling(leaf, count), self.lacking[i])}


def filling(leaf: Any, count: int) -> Any:
    """Return `count` values for a field that a source lacks, of the shape and dtype of `leaf`."""
    if None in leaf.shape:
        empty = np.zeros(tuple(n or 0 for n in leaf.shape), leaf.dtype)
        return np.fromiter((empty for _ in range(count)), object, count)
    if np.dtype(leaf.dtype) == object:
        return np.full((count, *leaf.shape), None, object)
    return np.zeros((count, *leaf.shape), leaf.dtype)


def plain_specs(specs: dict[str, Any]) -> dict[str, Any]:
    """Return specs as worker processes can take them, without JAX."""
    plain: dict[str, Any] = map_leaves(lambda leaf: LeafSpec(leaf.shape, leaf.dtype), specs)
    return plain
