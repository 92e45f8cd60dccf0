"""The part of a streaming source that reads: it needs numpy alone, and worker processes hold it."""

from typing import Any

import attrs
import numpy as np
from numpy.typing import ArrayLike, NDArray

from feedrace_tfds.bad_records import BadRecord
from feedrace_tfds.layout import Arrays
from feedrace_tfds.split import Split


@attrs.frozen(eq=False)
class SplitReader:
    """Reads records of a split by number; several threads may fetch at a time.

    wide: whether JAX's x64 mode is on, so that 64-bit numbers arrive as they are.
    kept: the records that `cacheable` keeps, by number, as arrays and a row of them; None to keep
        none. A pickled reader starts without any.
    """

    split: Split
    wide: bool
    kept: dict[int, tuple[Arrays, int]] | None = None

    def __reduce__(self) -> Any:
        return SplitReader, (self.split, self.wide, None if self.kept is None else {})

    def fetch(self, indices: ArrayLike) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        A feature whose shape varies, without `pad_to`, is a 1-D array of objects: an array for each
        record. A bad record that is skipped leaves a blank row, which `invalid_rows` shows. Raises
        `DataError` for a number out of range, for a value that does not fit the dtype that arrives,
        and for a bad record with `on_error = "raise"`; others are `noted`.
        """
        numbers = np.asarray(indices, np.int64)
        arrays = self.split.fetch(numbers) if self.kept is None else self._kept(self.kept, numbers)
        return self.split.packed(numbers, arrays, wide=self.wide)

    def invalid_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        return self.split.invalid_rows(np.asarray(indices, np.int64))

    def noted(self) -> list[BadRecord]:
        """Return the bad records that this thread's fetches met since it asked last."""
        return self.split.noted()

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding so far; threads at work together count once."""
        return self.split.clock.seconds

    def _kept(self, kept: dict[int, tuple[Arrays, int]], numbers: NDArray[np.int64]) -> Arrays:
        """Return the records of these numbers, reading those that were not read before."""
        self.split.records.check(numbers)
        missing = np.array([n for n in dict.fromkeys(numbers.tolist()) if n not in kept], np.int64)
        if len(missing):
            read = self.split.fetch(missing)
            # Another thread may have read one of them meanwhile: both have the same values.
            kept.update((n, (read, row)) for row, n in enumerate(missing.tolist()))
        self.split.note(np.setdiff1d(numbers, missing))  # as if they had been read
        layout = self.split.decoder.layout
        arrays = layout.allocate(len(numbers))
        for slot, number in enumerate(numbers.tolist()):
            layout.copy(arrays, slot, *kept[number])
        return arrays
