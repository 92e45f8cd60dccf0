"""The base of batchers that group by what is in the records, a window of them at a time."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from flax import nnx

from feedrace.plugin import (
    VALID_MASK,
    BatcherModule,
    DataError,
    RecordError,
    StructuralConfig,
    check_batch_size,
)
from feedrace_batchers.grouping import Grouped
from feedrace_batchers.stacking import Stacker


class WindowedBatcher(BatcherModule):
    """Groups the records of one window at a time; subclasses define `batches_of_window`.

    The batches of a window depend on its records alone, so that a run resumes exactly by reading
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

    def batches_of_window(self, records: dict[str, Any], *, batch_size: int) -> Iterator[Grouped]:
        """Yield what `collate_window` does."""
        raise NotImplementedError(f"{type(self).__name__} must define batches_of_window")

    def collate_window(self, records: dict[str, Any], *, batch_size: int) -> Iterator[Grouped]:
        """Yield (batch, rows, keys) of one window; nothing if there are no records.

        records: dict of arrays with one leading axis, up to `window_size(batch_size)` long; a
            sequence field may be a 1-D array of arrays.
        rows: int64 places in the window of the records whose first piece the batch holds, in row
            order; each record comes once. A short batch is padded and masked.
        keys: int64 (batch_size,), a different number for each row of the window: the place of the
            record that begins the row; for piece p, from 0, of a split record also p times the
            number of records. Rows of padding have any number.

        Raises `RecordError` for a record that does not fit, `DataError` for other reasons.
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

        Raises `ConfigError` for a batch size below 1; during iteration `DataError` for an element
        that is unlike the first, too long, or not a dict, and for a number that does not fit.
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
                raise DataError(f"element {number + error.row}: {error.message}") from None
            except DataError as error:
                error.add_note(f"the window begins with element {number}")
                raise
            number += len(group)

    @property
    def fill(self) -> float | None:
        """Share of the positions of all batches so far that hold data; None before the first."""
        return self._filled / self._positions if self._positions else None

    def reset_operation_stats(self) -> None:
        """Set both counts to zero, and `fill` to None."""
        super().reset_operation_stats()
        self._filled = self._positions = 0
