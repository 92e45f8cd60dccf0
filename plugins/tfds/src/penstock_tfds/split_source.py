"""What both TFDS sources have in common: a split, and what is known of it."""

from typing import Any

from flax import nnx

from penstock import SourceModule
from penstock_tfds.config import TFDSConfig
from penstock_tfds.split import open_split


class SplitSource(SourceModule):
    """A source over one TFDS split, which is found, or prepared, when the source is made.

    Raises `DataError` for a dataset or split that cannot be had, `ConfigError` for unknown keys.
    """

    def __init__(
        self, config: TFDSConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        default_name = f"{type(self).__name__}({config.name}:{config.split})"
        super().__init__(config, rngs=rngs, name=name or default_name)
        self._split = nnx.static(open_split(config))
        self.dataset_name = config.name
        self.split_name = config.split
        self.as_supervised = config.as_supervised
        self.include_keys = nnx.static(config.include_keys)
        self.exclude_keys = nnx.static(config.exclude_keys)
        self.length = len(self._split.records)

    def element_spec(self) -> Any:
        return self._split.decoder.element_spec()

    def get_dataset_info(self) -> Any:
        """Return TFDS's `DatasetInfo`: description, features, splits, citation."""
        return self._split.info

    def identity(self) -> str:
        """Return what tells this data from other data, for the state's fingerprint."""
        return self._split.identity
