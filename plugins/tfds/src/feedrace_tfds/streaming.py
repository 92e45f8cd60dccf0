"""The source that reads records from disk as they are asked for."""

from collections.abc import Generator, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from feedrace.plugin import IdentityDict, Prefetched, canonical, split_records, to_device
from feedrace_tfds.config import TFDSStreamingConfig
from feedrace_tfds.layout import Arrays
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
        self._records: IdentityDict = nnx.static(IdentityDict())

    def fetch(self, indices: Any) -> dict[str, Any]:
        """Return the records of these numbers, as a dict of numpy arrays.

        Features whose shape varies, without `pad_to`, are 1-D arrays of objects: an array for each
        record. A bad record that is skipped leaves a blank row, which `left_out` tells of. Several
        threads may fetch at a time. Raises `DataError` for a number out of range, and for bad
        records as `on_error` and `error_budget` have it.
        """
        numbers = np.asarray(indices, np.int64)
        arrays = self._kept(numbers) if self.config.cacheable else self._split.fetch(numbers)
        batch: dict[str, Any] = jax.tree_util.tree_map_with_path(
            lambda path, value: _canonical(jax.tree_util.keystr(path, simple=True), value),
            self._split.decoder.layout.pack(arrays),
        )
        return batch

    def _kept(self, numbers: Any) -> Arrays:
        """Return the records of these numbers, read where they were not before."""
        self._split.records.check(numbers)
        kept, layout = self._records, self._split.decoder.layout
        missing = np.array([n for n in dict.fromkeys(numbers.tolist()) if n not in kept], np.int64)
        if len(missing):
            read = self._split.fetch(missing)
            kept.update((n, (read, row)) for row, n in enumerate(missing.tolist()))
        arrays = layout.allocate(len(numbers))
        for slot, number in enumerate(numbers.tolist()):
            layout.copy(arrays, slot, *kept[number])
        return arrays

    def left_out(self, indices: Any) -> Any:
        """Return for each of these fetched records whether it was skipped: a bool array."""
        return self._split.left_out(np.asarray(indices, np.int64))

    @property
    def decode_seconds(self) -> float:
        """The seconds that went into decoding so far; threads at work together count once."""
        return float(self._split.decode_seconds[0])

    def reset_cache(self) -> None:
        """Forget the records that `cacheable` keeps."""
        super().reset_cache()
        self._records = nnx.static(IdentityDict())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        return self._hand_out(self._read_ahead())

    def _read_ahead(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield the records of this epoch that are left, None for those that were skipped."""

        def blocks() -> Iterator[tuple[Any, Any]]:
            for start, stop in self._blocks(_BLOCK):
                numbers = self.indices(start, stop)
                yield self.fetch(numbers), self.left_out(numbers)

        with Prefetched(blocks(), self.config.prefetch_buffer) as ahead:
            for block, left_out in ahead:
                # Split before they are moved: JAX would compile a program for each size of block.
                elements = to_device(list(split_records(block)))
                for element, skipped in zip(elements, left_out.tolist(), strict=True):
                    yield None if skipped else element

    def _arrived(self, indices: Any) -> dict[str, Any]:
        arrived = super()._arrived(indices)
        good = np.flatnonzero(~self.left_out(indices))
        if len(good) == len(indices):
            return arrived
        return dict(jax.tree.map(lambda leaf: leaf[good], arrived))


def _canonical(name: str, value: Any) -> Any:
    if value.dtype != object:
        return canonical(name, value)
    for row, entry in enumerate(value.tolist() if value.ndim == 1 else ()):
        if isinstance(entry, np.ndarray):
            value[row] = canonical(name, entry)
    return value
