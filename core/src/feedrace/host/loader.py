"""From the records of a step to batches of numpy arrays: fetch, then the batcher."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError, RecordError
from feedrace.host.records import (
    VALID_MASK,
    blank,
    count_records,
    map_leaves,
    pad_batch,
    split_records,
)
from feedrace.host.timing import Clock
from feedrace.protocols import Collating, Grouping, Skipping, is_row_wise, provides


@attrs.frozen(eq=False)
class Made:
    """One batch on the host.

    rows: int64, places among the records of the step of those that begin in the batch.
    positions: uint32 (batch_size,), the place of each row in its epoch, which seeds its random
        numbers; or a scalar, the place of row 0, after which the others follow one by one.
    """

    batch: dict[str, Any]
    rows: NDArray[np.int64]
    positions: Any


@attrs.frozen(eq=False, kw_only=True)
class HostLoader:
    """Makes the batches of one stream on the host.

    mine: int64, the rows of each batch that this process holds; None for all. If row i of a batch
        is record i, only their records are read.
    specs: returns the specs of the batches that the batcher makes.
    """

    source: Any
    batcher: Any
    batch_size: int
    records_per_epoch: int
    mine: NDArray[np.int64] | None
    specs: Callable[[], Sequence[Any]]

    def load(self, indices: NDArray[np.int64], start: int, clock: Clock) -> Iterator[Made]:
        """Yield the batches of one step: a single one, or those of a window of records.

        indices: record numbers; 2-D if each element is a window of records. start: the position
        of the first of them.
        """
        position = start % self.records_per_epoch
        every = np.arange(len(indices))
        if is_row_wise(self.batcher):
            yield Made(self._rows(indices, clock), every, np.uint32(position))
            return
        records = self._fetch(indices, clock)
        invalid = self._invalid(indices)
        kept = every if invalid is None else np.flatnonzero(~invalid)
        if not len(kept):  # a batch of padding, so that the step is there
            batch = map_leaves(
                lambda leaf: blank(np.empty(leaf.shape, leaf.dtype)), self.specs()[0]
            )
            yield Made(self._rows_of(batch), kept, np.uint32(position))
            return
        if invalid is not None:
            records = map_leaves(lambda leaf: leaf[kept], records)
        none = True
        with _naming(indices, kept):
            for batch, rows, keys in batches(self.batcher, records, self.batch_size):
                positions: Any = np.uint32(position)
                if keys is not None:
                    # A row that is not a record's first goes beyond the records of the epoch.
                    again, within = np.divmod(keys, len(kept))
                    positions = position + kept[within] + again * self.records_per_epoch
                    positions = positions.astype(np.uint32)
                yield Made(self._rows_of(batch), kept[rows], positions)
                clock.enter("batch")
                none = False
        if none:
            name = type(self.batcher).__name__
            raise DataError(
                f"batcher {name} made no batch of {len(kept)} records; each goes in one"
            )

    def _rows_of(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.mine is None:
            return batch
        return map_leaves(lambda leaf: leaf[self.mine], batch)  # type: ignore[no-any-return]

    def own(self, positions: Any) -> Any:
        """Return the positions of this process's rows of a batch, from `Made.positions`."""
        if self.mine is None:
            return positions
        return positions[self.mine] if positions.ndim else (positions + self.mine).astype(np.uint32)

    def _rows(self, indices: NDArray[np.int64], clock: Clock) -> dict[str, Any]:
        """Return this process's rows of a batch, row i of which is record i."""
        mine = np.arange(self.batch_size) if self.mine is None else self.mine
        present = mine[mine < len(indices)]
        # If all rows are padding, one record shows what padding looks like.
        records = self._fetch(indices[present] if len(present) else indices[:1], clock)
        batch, _, _ = next(batches(self.batcher, records, len(mine)))
        if not len(present):
            return map_leaves(blank, batch)  # type: ignore[no-any-return]
        invalid = self._invalid(indices[present])
        if invalid is None:
            return batch
        mask = np.array(batch[VALID_MASK])
        mask[: len(present)] &= ~invalid
        return {**batch, VALID_MASK: mask}

    def _fetch(self, indices: NDArray[np.int64], clock: Clock) -> dict[str, Any]:
        clock.enter("source")
        numbers = indices.reshape(-1)
        records: dict[str, Any] = self.source.fetch(numbers)
        clock.enter("batch")
        count = count_records(records)
        if count != len(numbers):
            raise DataError(f"the source gave {count} records; {len(numbers)} were asked for")
        if indices.ndim > 1:
            records = map_leaves(
                lambda leaf: leaf.reshape(*indices.shape, *leaf.shape[1:]), records
            )
        return records

    def _invalid(self, indices: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return which elements hold a record that the source left out; None if none does."""
        if not provides(self.source, Skipping):
            return None
        rows = np.reshape(self.source.invalid_rows(indices.reshape(-1)), indices.shape)
        invalid = np.asarray(rows.any(axis=tuple(range(1, rows.ndim))))
        return invalid if invalid.any() else None


def batches(
    batcher: Any, records: dict[str, Any], batch_size: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64] | None]]:
    """Yield (batch, rows, keys) for any batcher; None stands for padding records as they come.

    rows: places among the records of those that begin in the batch. keys: another number for each
    row, as `protocols.Grouping.collate_window` has it; None if row i is record i.
    """
    every = np.arange(count_records(records))
    if batcher is None:
        yield pad_batch(records, batch_size=batch_size), every, None
    elif provides(batcher, Grouping):
        for number, made in enumerate(batcher.collate_window(records, batch_size=batch_size)):
            batch, rows, *keys = made
            rows = np.asarray(rows, np.int64)
            numbers = keys[0] if keys else _row_keys(rows, batch, number, len(every))
            yield batch, rows, np.asarray(numbers, np.int64)
    elif provides(batcher, Collating):
        yield batcher.collate(records, batch_size=batch_size), every, None
    else:
        elements = list(split_records(records))
        whole = list(batcher.process(elements, batch_size=batch_size))
        if len(whole) != 1:
            raise DataError(
                f"{type(batcher).__name__} made {len(whole)} batches of the records of one; a "
                f"pipeline's batcher makes 1 batch of up to batch_size records, or works in "
                f"windows (collate_window)"
            )
        yield whole[0], every, None


@contextmanager
def _naming(indices: NDArray[np.int64], kept: NDArray[np.int64]) -> Iterator[None]:
    """Note on an error for a record of a window which record that is."""
    try:
        yield
    except RecordError as error:
        error.add_note(f"record {error.row} of the window is record {indices[kept[error.row]]}")
        raise


def _row_keys(
    rows: NDArray[np.int64], batch: dict[str, Any], number: int, records: int
) -> NDArray[np.int64]:
    """Return the keys of a batch whose batcher gives none.

    It is the place of the row's record. If rows are made of several records, or of parts, it is
    above all places, and no other row of the window has it.
    """
    mask = np.asarray(batch[VALID_MASK])
    own = records + number * len(mask) + np.arange(len(mask))
    if len(rows) == np.count_nonzero(mask):
        own[mask] = rows
    return own
