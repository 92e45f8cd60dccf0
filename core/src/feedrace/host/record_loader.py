"""What workers do: read the records of a step, run the record stages, and stack the rows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError, class_name, clipped
from feedrace.host.record_stages import RecordStages, Run, check_delivered
from feedrace.host.records import (
    VALID_MASK,
    aligned,
    blank,
    canonical,
    count_records,
    is_host_dtype,
    leaves,
    map_leaves,
    pad_batch,
)
from feedrace.host.timing import Clock
from feedrace.protocols import Locating, Noting, Skipping, provides

Allocate = Callable[[tuple[int, ...], Any], Any]  # of (shape, dtype)


@attrs.frozen(eq=False)
class Loaded:
    """The records of one step.

    records: dict of arrays: a whole batch with its mask, or one row for each record.
    skipped: bool (rows,), which rows hold a record that was left out; None if none does.
    noted: what the reader noted, for its source.
    """

    records: dict[str, Any]
    skipped: NDArray[np.bool_] | None = None
    noted: list[Any] = attrs.field(factory=list)


@attrs.frozen(eq=False, kw_only=True)
class RecordLoader:
    """Reads the records of a step, runs the record stages, and stacks rows; it can be pickled.

    It is a function of record numbers alone: threads share it, and processes hold copies of it.

    reader: has `fetch`; several threads may load at a time if it is a `protocols.Reader`.
    rows: int64, which rows of a batch to make, if row i is record i; None to give the records as
        they come, for a batcher that does more than stack them.
    """

    reader: Any
    stages: RecordStages
    records_per_epoch: int
    rows: NDArray[np.int64] | None

    def load(
        self,
        indices: NDArray[np.int64],
        start: int,
        clock: Clock,
        allocate: Allocate = aligned,
    ) -> Loaded:
        """Return the records of these numbers, the first of which is at position `start`.

        indices: 2-D if each element is a window of records. allocate: returns the arrays to fill.
        """
        return self.make(self.read(indices, clock), indices, start, clock, allocate)

    def read(self, indices: NDArray[np.int64], clock: Clock) -> Loaded:
        """Return the records as they are read: one row for each number that is needed."""
        clock.enter("source")
        numbers = self._needed(indices).reshape(-1)
        records: dict[str, Any] = self.reader.fetch(numbers)
        if not isinstance(records, dict):
            raise DataError(
                f"{class_name(self.reader)}.fetch returned {clipped(records, 80)}; it returns a "
                f"dict of arrays, one row for each number: of a list of records, "
                f"{{name: np.stack([record[name] for record in records]) for name in records[0]}}; "
                f"an object with __getitem__ needs no fetch (the source `records`)"
            )
        count = count_records(records)
        if count != len(numbers):
            raise DataError(f"the source gave {count} records; {len(numbers)} were asked for")
        check_delivered(records, self.stages.promises[0], self.reader)
        skipped = None
        if provides(self.reader, Skipping):
            skipped = np.asarray(self.reader.invalid_rows(numbers))
        left_out = skipped if skipped is not None and skipped.any() else None
        return Loaded(records, left_out, self._noted())

    def each(
        self, numbers: NDArray[np.int64], clock: Clock | None = None
    ) -> tuple[Loaded, Iterator[dict[str, Any] | None]]:
        """Return these records as they are read, and the values of each by dotted name.

        The values are those after the stages in epoch 0, in which record i is at position i. They
        are made as they are asked for; None stands for a record that was left out, if there are
        stages. What is noted on a record that a stage fails on joins what was noted before.
        """
        clock = clock or Clock()
        read = self.read(numbers, clock)
        clock.enter("record stages")
        return read, self._values(read, numbers.tolist())

    def _values(self, read: Loaded, numbers: list[int]) -> Iterator[dict[str, Any] | None]:
        run = self.stages.runner(0) if self.stages.stages else None
        records = map_leaves(np.asarray, read.records)
        fields = dict(leaves(records))
        is_flat = run is None or fields.keys() == records.keys()
        for row, number in enumerate(numbers):
            if run is not None and read.skipped is not None and read.skipped[row]:
                yield None
                continue
            if is_flat:
                record = {name: leaf[row] for name, leaf in fields.items()}
            else:
                record = map_leaves(lambda leaf, row=row: leaf[row], records)
            values: dict[str, Any] | None = record
            if run is not None:
                try:
                    values = run(record, number, number, 0)
                except DataError as error:
                    values = self._tolerated(error, read, run, number, number, 0)
                except Exception as error:
                    self._note_place(error, number)
                    raise
            yield values

    def _note_place(self, error: Exception, number: int) -> None:
        """Note at an error in which file the record is that a stage failed on, if that is known."""
        if provides(self.reader, Locating):
            file, place = self.reader.locate(number)
            error.add_note(f"record {number} is record {place} of {file}")

    def _tolerated(
        self, error: DataError, read: Loaded, run: Run, number: int, position: int, inner: int
    ) -> dict[str, Any] | None:
        """Return what `RecordStages.tolerated` does, and note what the reader notes."""
        self._note_place(error, number)
        values = self.stages.tolerated(self.reader, error, run, number, position, inner)
        read.noted.extend(self._noted())
        return values

    def _noted(self) -> list[Any]:
        return list(self.reader.noted()) if provides(self.reader, Noting) else []

    def make(
        self,
        read: Loaded,
        indices: NDArray[np.int64],
        start: int,
        clock: Clock,
        allocate: Allocate = aligned,
    ) -> Loaded:
        """Return what `load` does, from what `read` returned."""
        present = self._present(indices)
        size = len(indices) if self.rows is None else len(self.rows)
        skipped = read.skipped
        if self.stages.stages:
            clock.enter("record stages")
            records, skipped = self._staged(read, indices, start, size, allocate)
            clock.enter("batch")
        else:
            clock.enter("batch")
            records = read.records
            if indices.ndim > 1:
                shape = self._needed(indices).shape
                records = map_leaves(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), records)
        if skipped is not None and indices.ndim > 1:
            whole = skipped.reshape(self._needed(indices).shape)
            skipped = np.asarray(whole.any(axis=tuple(range(1, whole.ndim))))
        if self.rows is None:
            return Loaded(records, skipped, read.noted)
        if not self.stages.stages:
            records = pad_batch(records, batch_size=size)
            if not present:  # one record shows what padding looks like
                records = map_leaves(blank, records)
        mask = np.arange(size) < present
        if skipped is not None and present:
            mask[:present] &= ~skipped
        return Loaded({**records, VALID_MASK: mask}, None, read.noted)

    def _present(self, indices: NDArray[np.int64]) -> int:
        """Return how many rows of this process hold a record."""
        if self.rows is None:
            return len(indices)
        return int(np.searchsorted(self.rows, len(indices)))

    def _needed(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.rows is None:
            return indices
        present = self._present(indices)
        return indices[self.rows[:present]] if present else indices[:1]

    def _staged(
        self,
        read: Loaded,
        indices: NDArray[np.int64],
        start: int,
        size: int,
        allocate: Allocate,
    ) -> tuple[dict[str, Any], NDArray[np.bool_] | None]:
        """Return arrays of `size` elements, each record after the stages in its place.

        And which records were left out, as `Loaded.skipped`.
        """
        numbers, window = self._needed(indices), indices.shape[1:]
        present, width = self._present(indices), int(np.prod(window, dtype=np.int64))
        epoch, first = divmod(start, self.records_per_epoch)
        run = self.stages.runner(epoch)
        into = map_leaves(lambda leaf: _rows(leaf, size * width, allocate), self.stages.spec)
        flat = dict(leaves(into))
        dtypes = {name: array.dtype for name, array in flat.items()}
        records = map_leaves(_as_numpy, read.records)
        fields = dict(leaves(records))
        is_flat = fields.keys() == records.keys()
        listed = numbers.reshape(-1).tolist()
        failed: list[int] = []
        for row in range(present * width):
            if read.skipped is not None and read.skipped[row]:
                _clear(flat, row, row + 1)
                continue
            if is_flat:
                record = {name: leaf[row] for name, leaf in fields.items()}
            else:
                record = map_leaves(lambda leaf, row=row: leaf[row], records)
            element, inner = divmod(row, width)
            place = element if self.rows is None else int(self.rows[element])
            try:
                values = run(record, listed[row], first + place, inner)
            except DataError as error:
                instead = self._tolerated(error, read, run, listed[row], first + place, inner)
                if instead is None:
                    failed.append(row)
                    _clear(flat, row, row + 1)
                    continue
                values = instead
            except Exception as error:
                self._note_place(error, listed[row])
                raise
            for name, value in values.items():
                dtype = dtypes[name]
                if dtype.hasobject:
                    flat[name][row] = value
                else:
                    if getattr(value, "dtype", dtype) != dtype:
                        value = canonical(name, value, wide=False)
                    try:
                        flat[name][row] = value
                    except OverflowError:
                        stage = self.stages.names[-1]
                        message = (
                            f"record stage {stage} returned {value} as {name!r} of record "
                            f"{listed[row]}, beyond {dtype}"
                        )
                        raise DataError(message) from None
        _clear(flat, present * width, size * width)
        skipped = read.skipped
        if failed:
            skipped = np.zeros(len(listed), bool) if skipped is None else skipped.copy()
            skipped[failed] = True
        if not window:
            return into, skipped
        shaped: dict[str, Any] = map_leaves(
            lambda leaf: leaf.reshape(size, *window, *leaf.shape[1:]), into
        )
        return shaped, skipped


def _as_numpy(leaf: Any) -> Any:
    """Return an array as stages on records take it; a source may give JAX's own."""
    if isinstance(leaf, np.ndarray) or not isinstance(leaf.dtype, np.dtype):  # of PRNG keys
        return leaf
    return np.asarray(leaf)


def _rows(leaf: Any, count: int, allocate: Allocate) -> Any:
    """Return the memory for a field of `count` records; an array of objects if they vary."""
    if is_host_dtype(leaf.dtype) or None in leaf.shape:
        return np.full((count, *(() if None in leaf.shape else leaf.shape)), None, object)
    return allocate((count, *leaf.shape), leaf.dtype)


def _clear(flat: Mapping[str, NDArray[Any]], start: int, stop: int) -> None:
    for array in flat.values():
        array[start:stop] = None if array.dtype.hasobject else 0
