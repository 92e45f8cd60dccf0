"""What both TFDS sources have in common: a split, and what is known of it."""

from typing import Any

import attrs
from flax import nnx

from feedrace.plugin import SourceModule
from feedrace_tfds.bad_records import BadRecord
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.split import open_split
from feedrace_tfds.windows import traced_window_indices, window_indices


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
        if not (self.is_random_order and self._by_windows):
            return super().indices(start, stop)
        window = self.config.shuffle_buffer_size
        return window_indices(start, stop, self.length, window=window, seed=self.seed)

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        if not (self.is_random_order and self._by_windows):
            return super().indices_at(epoch, positions)
        window = self.config.shuffle_buffer_size
        return traced_window_indices(epoch, positions, self.length, window=window, seed=self.seed)

    @property
    def _by_windows(self) -> bool:
        return self.config.shuffle_mode == "buffer" or not self._split.records.reader.concurrent

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
