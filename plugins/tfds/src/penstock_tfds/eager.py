"""The source that loads a split once and then is JAX alone."""

from typing import Any

from penstock.builtin.memory import ArraySource
from penstock_tfds.split_source import SplitSource

_BLOCK = 1024


class TFDSEagerSource(SplitSource, ArraySource):
    """A TFDS split held whole on the device; strings stay on the host.

    Its records are loaded when they are first needed, after which no file is read again.
    """

    def load(self) -> dict[str, Any]:
        decoder = self._split.decoder
        arrays = decoder.empty(self.length)
        for start in range(0, self.length, _BLOCK):
            block = range(start, min(start + _BLOCK, self.length))
            decoder.store(arrays, slice(block.start, block.stop), self._split.fetch(block))
        return arrays
