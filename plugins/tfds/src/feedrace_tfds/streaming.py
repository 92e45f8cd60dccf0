"""The source that reads records from disk as they are asked for."""

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from flax import nnx
from numpy.typing import ArrayLike, NDArray

from feedrace.plugin import IdentityDict, Prefetched, is_wide, split_records, to_device
from feedrace_tfds.config import TFDSStreamingConfig
from feedrace_tfds.reader import SplitReader
from feedrace_tfds.split_source import SplitSource

_BLOCK = 256


class TFDSStreamingSource(SplitSource):
    """A TFDS split of any size, read and decoded by record number; nothing is kept in memory.

    Every record has a number, so that any order is as resumable as the stored one: its own order is
    a function of seed, epoch and position.
    """

    def __init__(
        self, config: TFDSStreamingConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._kept: IdentityDict = nnx.static(IdentityDict())

    def reader(self) -> SplitReader:
        """Return the part that reads: it needs neither JAX nor TFDS, and can be pickled.

        TFDS and TensorFlow are imported where it is unpickled if TensorFlow decodes. 64-bit numbers
        are converted as JAX's x64 mode is now.
        """
        return SplitReader(self._split, is_wide(), self._kept if self.config.cacheable else None)

    def fetch(self, indices: ArrayLike) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        A feature whose shape varies, without `pad_to`, is a 1-D array of objects: an array for each
        record. A bad record that is skipped leaves a blank row, which `invalid_rows` shows. Several
        threads may fetch at a time. Raises `DataError` for a number out of range, for a value that
        does not fit, and for bad records as `on_error` and `error_budget` have it.
        """
        return self.reader().fetch(indices)

    def invalid_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        return self.reader().invalid_rows(indices)

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding so far; threads at work together count once."""
        return float(self._split.decode_seconds)

    def reset_cache(self) -> None:
        """Forget the records that `cacheable` keeps."""
        super().reset_cache()
        self._kept = nnx.static(IdentityDict())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        return self._hand_out(self._read_ahead())

    def _read_ahead(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the records of this epoch that are left, None for those that were skipped."""

        def blocks() -> Iterator[tuple[dict[str, Any], NDArray[np.bool_]]]:
            for start, stop in self._blocks(_BLOCK):
                numbers = self.indices(start, stop)
                yield self.fetch(numbers), self.invalid_rows(numbers)

        with Prefetched(blocks(), self.config.prefetch_buffer) as ahead:
            for block, invalid in ahead:
                # Split before they are moved: JAX would compile a program for each size of block.
                elements = to_device(list(split_records(block)))
                for element, skipped in zip(elements, invalid.tolist(), strict=True):
                    yield None if skipped else element
