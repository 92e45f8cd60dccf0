"""The source that reads records from disk as they are asked for."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from penstock import specs
from penstock.module import IdentityDict
from penstock.prefetch import Prefetched
from penstock.shuffle import permute, round_keys
from penstock.source import split_records
from penstock_tfds.config import TFDSStreamingConfig
from penstock_tfds.split_source import SplitSource

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
        """Return the records of these numbers, as a dict of numpy arrays."""
        numbers = np.asarray(indices, np.int64)
        if not self.config.cacheable:
            return self._canonical(self._split.fetch(numbers))
        kept = self._records
        missing = [int(n) for n in numbers if int(n) not in kept]
        decoded = self._split.fetch(missing) if missing else {}
        kept.update(zip(missing, split_records(decoded), strict=False))
        decoder = self._split.decoder
        batch = decoder.empty(len(numbers))
        for slot, number in enumerate(numbers.tolist()):
            decoder.store(batch, slot, kept[number])
        return self._canonical(batch)

    def _canonical(self, batch: dict[str, Any]) -> dict[str, Any]:
        canonical: dict[str, Any] = jax.tree_util.tree_map_with_path(
            lambda path, value: specs.canonical(jax.tree_util.keystr(path, simple=True), value),
            batch,
        )
        return canonical

    def reset_cache(self) -> None:
        """Forget the records that `cacheable` keeps."""
        super().reset_cache()
        self._records = nnx.static(IdentityDict())

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at absolute positions [start, stop) of its own order."""
        if not self.is_random_order or self.config.shuffle_mode == "global":
            return super().indices(start, stop)
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self.length)
            window, within = divmod(offset, self.config.shuffle_buffer_size)
            base = window * self.config.shuffle_buffer_size
            size = min(self.config.shuffle_buffer_size, self.length - base)
            count = min(stop - start, size - within)
            positions = np.arange(within, within + count, dtype=np.int64)
            keys = round_keys(size, self.seed, epoch, window + 1)
            parts.append(base + permute(positions, size, keys))
            start += count
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the records that are left of this epoch, one dict each, then start the next."""
        self._begin()
        base = int(self.epoch.get_value()) * self.length
        starts = range(int(self.index.get_value()), self.length, _BLOCK)
        blocks = (
            self.fetch(self.indices(base + s, base + min(s + _BLOCK, self.length))) for s in starts
        )
        with Prefetched(blocks, self.config.prefetch_buffer) as ahead:
            yield from self._hand_out(ahead)
