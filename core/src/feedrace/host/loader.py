"""From the records of a step to batches of numpy arrays: what workers make, then the batcher."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.errors import DataError, RecordError
from feedrace.host.record_loader import Loaded, RecordLoader
from feedrace.host.record_stages import RecordStages
from feedrace.host.records import VALID_MASK, blank, count_records, map_leaves, split_records
from feedrace.host.timing import Clock
from feedrace.protocols import Collating, Grouping, Noted, Readable, Skipping, is_row_wise, provides

_IN_ORDER = np.empty(0, np.int64)


@attrs.frozen(eq=False)
class Made:
    """One batch on the host.

    rows: int64, places among the records of the step of those that begin in the batch; empty if
        row i is record i.
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
    stages: RecordStages
    batcher: Any
    batch_size: int
    records_per_epoch: int
    mine: NDArray[np.int64] | None
    specs: Callable[[], Sequence[Any]]

    def reader(self) -> Any:
        """Return the source's reader; None if only one thread can read from the source."""
        reader = self.source.reader() if provides(self.source, Readable) else None
        if provides(self.source, Skipping) and not provides(reader, Skipping):
            return None  # it cannot show which records it left out
        return reader

    def record_loader(self) -> RecordLoader:
        """Return what workers do for this stream; without a reader they read from the source."""
        reader = self.reader()
        every = np.arange(self.batch_size) if self.mine is None else self.mine
        return RecordLoader(
            reader=self.source if reader is None else reader,
            stages=self.stages,
            records_per_epoch=self.records_per_epoch,
            rows=every if is_row_wise(self.batcher) else None,
        )

    def batches(
        self, loaded: Loaded, indices: NDArray[np.int64], start: int, clock: Clock
    ) -> Iterator[Made]:
        """Yield the batches of one step: a single one, or those of a window of records.

        loaded: what the `record_loader` made of `indices` and `start`.
        """
        clock.enter("batch")
        if loaded.noted and provides(self.source, Noted):
            self.source.note(list(loaded.noted))
        position = start % self.records_per_epoch
        records = loaded.records
        if is_row_wise(self.batcher):
            yield Made(records, _IN_ORDER, _word(position))
            return
        every = np.arange(len(indices))
        kept = every if loaded.skipped is None else np.flatnonzero(~loaded.skipped)
        if not len(kept):  # a batch of padding, so that the step is there
            batch = map_leaves(
                lambda leaf: blank(np.empty(leaf.shape, leaf.dtype)), self.specs()[0]
            )
            yield Made(self._rows_of(batch), kept, _word(position))
            return
        if loaded.skipped is not None:
            records = map_leaves(lambda leaf: leaf[kept], records)
        none = True
        with _naming(indices, kept):
            for batch, rows, keys in batches(self.batcher, records, self.batch_size):
                positions: Any = _word(position)
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


def batches(
    batcher: Any, records: dict[str, Any], batch_size: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64] | None]]:
    """Yield (batch, rows, keys) for a batcher that is not row-wise.

    rows: places among the records of those that begin in the batch. keys: another number for each
    row, as `protocols.Grouping.collate_window` has it; None if row i is record i.
    """
    every = np.arange(count_records(records))
    if provides(batcher, Grouping):
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
    except Exception as error:  # `RecordError` is gone if the program ends with an open iterator
        if isinstance(error, RecordError):
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


def _word(position: int) -> Any:
    """Return a position as uint32, as keys take it; beyond 2**32 it starts again from 0."""
    return np.uint32(position & 0xFFFFFFFF)
