"""The source that reads records from disk as they are asked for."""

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from flax import nnx
from numpy.typing import ArrayLike, NDArray

from feedrace.plugin import IdentityDict, check_batch_size, is_wide, split_records, to_device
from feedrace_tfds.ahead import ahead
from feedrace_tfds.bad_records import BadRecord
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

    def reader(self) -> SplitReader | None:
        """Return the part that reads: it needs neither JAX nor TFDS, and can be pickled.

        TFDS and TensorFlow are imported where it is unpickled if TensorFlow decodes. 64-bit numbers
        are converted as JAX's x64 mode is now. None for files that are read in the stored order:
        readers at work together would read the same files again and again.
        """
        return self._reader() if self._split.records.reader.concurrent else None

    def _reader(self) -> SplitReader:
        return SplitReader(self._split, is_wide(), self._kept if self.config.cacheable else None)

    def fetch(self, indices: ArrayLike) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        A feature whose shape varies, without `pad_to`, is a 1-D array of objects: an array for each
        record. A bad record that is skipped leaves a blank row, which `invalid_rows` shows. Several
        threads may fetch at a time. Raises `DataError` for a number out of range, for a value that
        does not fit, and for bad records as `on_error` and `error_budget` have it.
        """
        reader = self._reader()
        records = reader.fetch(indices)
        self.note(reader.noted())
        return records

    def invalid_rows(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Return which of these fetched records were skipped."""
        return self._reader().invalid_rows(indices)

    def get_batch(self, batch_size: int, key: Any = None) -> dict[str, Any]:
        """Return up to `batch_size` records: those that are left of the epoch, if they are fewer.

        The batch after the last one of an epoch begins the next epoch. With a PRNG `key`, see
        `SourceModule.get_batch`.
        """
        check_batch_size(batch_size)
        if key is None:
            left = self.length - int(self.index.get_value())
            batch_size = min(batch_size, left or self.length)
        batch: dict[str, Any] = super().get_batch(batch_size, key)
        return batch

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding so far; threads at work together count once."""
        return float(self._split.clock.seconds)

    def reset_cache(self) -> None:
        """Forget the records that `cacheable` keeps."""
        super().reset_cache()
        self._kept = nnx.static(IdentityDict())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        return self._hand_out(self._read_ahead())

    def _read_ahead(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the records of this epoch that are left, None for those that were skipped."""
        reader = self._reader()

        def read(block: tuple[int, int]) -> tuple[Any, NDArray[np.bool_], list[BadRecord]]:
            numbers = self.indices(*block)
            return reader.fetch(numbers), reader.invalid_rows(numbers), reader.noted()

        blocks = ahead(
            read, self._blocks(_BLOCK), threads=self._threads, most=self.config.prefetch_buffer
        )
        with contextlib.closing(blocks):
            for block, invalid, bad in blocks:
                self.note(bad)
                # Split before they are moved: JAX would compile a program for each size of block.
                elements = to_device(list(split_records(block)))
                for element, skipped in zip(elements, invalid.tolist(), strict=True):
                    yield None if skipped else element
