"""The base of batchers whose grouping depends on the records: they work in windows of records."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from flax import nnx

from feedrace.plugin import VALID_MASK, BatcherModule, DataError, StructuralConfig, check_batch_size
from feedrace_batchers.sequences import RecordError
from feedrace_batchers.stacking import Stacker


class WindowedBatcher(BatcherModule):
    """Groups the records of one window at a time; subclasses give `batches_of_window`.

    What a window becomes depends on its records alone, so that a run is resumed exactly by reading
    one window again.
    """

    def __init__(
        self, config: StructuralConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._filled = self._positions = 0

    def window_size(self, batch_size: int) -> int:
        """Return the number of records in a window."""
        check_batch_size(batch_size)
        return min(int(self.config.window) * batch_size, sys.maxsize)

    def batches_of_window(
        self, records: dict[str, Any], *, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """Yield what `collate_window` does."""
        raise NotImplementedError(f"{type(self).__name__} must define batches_of_window")

    def collate_window(
        self, records: dict[str, Any], *, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """Yield (batch, records whose first piece it holds, keys of its rows) of one window.

        records: dict of arrays with one leading axis, up to `window_size(batch_size)` long; a
            sequence field may be a 1-D array of arrays.

        The records are int64 positions in the window, in row order. Every record is in exactly one
        batch; a short batch is padded and masked; no records give no batch. Raises `DataError` for
        records that do not fit; where it is about one, its attribute `row` is that one's position.

        The keys are int64 (batch_size,), a number for each row that no other row of the window has:
        of a row that holds a record, or begins with it, the record's position in the window; where
        the record was split, of its piece p, from 0, that position and p times the number of
        records. Rows of padding have any number.
        """
        for batch, rows, keys in self.batches_of_window(records, batch_size=batch_size):
            for name in self.config.fields:
                mask = batch[f"{name}_mask"]
                self._filled += int(np.count_nonzero(mask))
                self._positions += mask.size
            yield batch, rows, keys

    def process(
        self,
        elements: Iterable[Any],
        *args: Any,
        batch_size: int,
        drop_remainder: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator of batches; no elements give no batch.

        elements: dicts of one structure; sequence fields are arrays or lists of any length, other
            fields are of one shape and dtype.
        drop_remainder: leave out every batch with padded rows.

        Raises `ConfigError` for a batch size below 1; `DataError`, on the way, for an element that
        is unlike the first, too long, or not a dict, and for an integer that does not fit.
        """
        check_batch_size(batch_size)
        return self._batches(iter(elements), batch_size, drop_remainder)

    def _batches(
        self, elements: Iterator[Any], batch_size: int, drop_remainder: bool
    ) -> Iterator[dict[str, Any]]:
        stacker = None
        number = 0
        size = self.window_size(batch_size)
        while group := list(itertools.islice(elements, size)):
            stacker = stacker or Stacker(group[0], self.config.fields)
            records = stacker.stack(group, number, len(group))
            try:
                for batch, rows, _ in self.collate_window(records, batch_size=batch_size):
                    if drop_remainder and not batch[VALID_MASK].all():
                        dropped = self._skipped_count.get_value() + len(rows)
                        self._skipped_count.set_value(dropped)
                    else:
                        yield batch
            except RecordError as error:
                raise DataError(f"element {number + error.row}: {error.said}") from None
            except DataError as error:
                error.add_note(f"the window begins with element {number}")
                raise
            number += len(group)

    @property
    def fill(self) -> float | None:
        """Share of the positions of all batches so far that holds data; None before the first."""
        return self._filled / self._positions if self._positions else None

    def reset_operation_stats(self) -> None:
        """Set the counts and `fill` back."""
        super().reset_operation_stats()
        self._filled = self._positions = 0
