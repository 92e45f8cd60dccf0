"""What both TFDS sources have in common: a split, and what is known of it."""

from typing import Any

import attrs
import numpy as np
from flax import nnx

from penstock import SourceModule
from penstock.shuffle import permute, round_keys
from penstock_tfds.bad_records import BadRecord
from penstock_tfds.config import TFDSConfig
from penstock_tfds.split import open_split


class SplitSource(SourceModule):
    """A source over one TFDS split, which is found, or prepared, when the source is made.

    Raises `DataError` for a dataset or split that cannot be had, `ConfigError` for unknown keys.
    """

    def __init__(
        self, config: TFDSConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        split = open_split(config)
        config = attrs.evolve(config, split=split.name)
        dataset = config.name or split.info.full_name
        default_name = f"{type(self).__name__}({dataset}:{config.split})"
        super().__init__(config, rngs=rngs, name=name or default_name)
        self._split = nnx.static(split)
        self.dataset_name = dataset
        self.split_name = config.split
        self.as_supervised = config.as_supervised
        self.include_keys = nnx.static(config.include_keys)
        self.exclude_keys = nnx.static(config.exclude_keys)
        self.length = len(split)
        self.choice = ""  # why `from_tfds` chose this source

    def element_spec(self) -> Any:
        return self._split.decoder.layout.element_spec()

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at absolute positions [start, stop) of its own order.

        With `shuffle_mode = "buffer"`, or where records are read in the stored order, each window
        of `shuffle_buffer_size` records is shuffled by itself.
        """
        windowed = self.config.shuffle_mode == "buffer" or not self._split.records.reader.concurrent
        if not (self.is_random_order and windowed):
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

    @property
    def bad_records(self) -> tuple[BadRecord, ...]:
        """The records met so far that could not be read or decoded, in the order of the split."""
        return self._split.bad.met()

    def details(self) -> list[str]:
        """Return sentences on why it was chosen, and how records are found and decoded."""
        return [self.choice, *self._split.describe()] if self.choice else self._split.describe()

    def get_dataset_info(self) -> Any:
        """Return TFDS's `DatasetInfo`: description, features, splits, citation."""
        return self._split.info

    def identity(self) -> str:
        """Return what tells this data from other data, for the state's fingerprint."""
        return self._split.identity
