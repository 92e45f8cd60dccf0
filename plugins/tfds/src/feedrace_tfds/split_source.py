"""What both TFDS sources share: a split, and what is known of it."""

from typing import Any

import attrs
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import StoredSource
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.opening import open_split
from feedrace_tfds.windows import traced_window_indices, window_indices


class SplitSource(StoredSource):
    """A source over one TFDS split, which is found, or prepared, when the source is made.

    Raises `DataError` for a dataset or split that is not there, `ConfigError` for unknown keys.
    """

    def __init__(
        self, config: TFDSConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        opened = open_split(config)
        config = attrs.evolve(config, split=opened.name)
        dataset = config.name or opened.info.full_name
        default_name = f"{type(self).__name__}({dataset}:{config.split})"
        super().__init__(config, opened.content, rngs=rngs, name=name or default_name)
        self._info = nnx.static(opened.info)
        self._identity = opened.identity
        self._concurrent, self._threads = opened.concurrent, opened.threads
        self.dataset_name = dataset
        self.split_name = config.split
        self.as_supervised = config.as_supervised
        self.include_keys = nnx.static(config.include_keys)
        self.exclude_keys = nnx.static(config.exclude_keys)
        self.choice = ""  # why `from_tfds` chose this source

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop) of its own order.

        With `shuffle_mode = "buffer"`, or if records are read in the stored order, each window of
        `shuffle_buffer_size` records is shuffled separately.
        """
        if not self._by_windows:
            numbers: NDArray[np.int64] = super().indices(start, stop)
            return numbers
        window = self.config.shuffle_buffer_size
        return window_indices(start, stop, self.length, window=window, seed=self.seed)

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        """Return the record numbers at int32 positions of an epoch (uint32), traceably."""
        if not self._by_windows:
            return super().indices_at(epoch, positions)
        window = self.config.shuffle_buffer_size
        return traced_window_indices(epoch, positions, self.length, window=window, seed=self.seed)

    @property
    def _by_windows(self) -> bool:
        by_windows = self.config.shuffle_mode == "buffer" or not self._concurrent
        return self.is_random_order and by_windows

    def details(self) -> list[str]:
        """Return sentences on why it was chosen, and how records are found and decoded."""
        return [self.choice, *super().details()] if self.choice else super().details()

    def get_dataset_info(self) -> Any:
        """Return TFDS's `DatasetInfo`: description, features, splits, citation."""
        return self._info

    def identity(self) -> str:
        """Return the dataset's name and version and a digest of its files; part of saved states."""
        return self._identity
