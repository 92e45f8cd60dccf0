"""The source that loads a split once and then is JAX alone."""

from typing import Any

from flax import nnx

from penstock.builtin.memory import ArraySource
from penstock_tfds.config import TFDSEagerConfig
from penstock_tfds.split import open_split

_BLOCK = 1024


class TFDSEagerSource(ArraySource):
    """A TFDS split held whole on the device; strings stay on the host.

    The dataset is found, or prepared, when the source is made; its records are loaded when they are
    first needed, after which no file is read again.

    Raises `DataError` for a dataset or split that cannot be had, `ConfigError` for unknown keys.
    """

    def __init__(
        self, config: TFDSEagerConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        default_name = f"TFDSEagerSource({config.name}:{config.split})"
        super().__init__(config, rngs=rngs, name=name or default_name)
        self._split = nnx.static(open_split(config))
        self.dataset_name = config.name
        self.split_name = config.split
        self.as_supervised = config.as_supervised
        self.include_keys = nnx.static(config.include_keys)
        self.exclude_keys = nnx.static(config.exclude_keys)
        self.length = len(self._split.records)

    def load(self) -> dict[str, Any]:
        decoder = self._split.decoder
        arrays = decoder.empty(self.length)
        for start in range(0, self.length, _BLOCK):
            block = range(start, min(start + _BLOCK, self.length))
            decoder.store(arrays, slice(block.start, block.stop), self._split.fetch(block))
        return arrays

    def element_spec(self) -> Any:
        return self._split.decoder.element_spec()

    def get_dataset_info(self) -> Any:
        """Return TFDS's `DatasetInfo`: description, features, splits, citation."""
        return self._split.info

    def identity(self) -> str:
        """Return what tells this data from other data, for the state's fingerprint."""
        return self._split.identity
