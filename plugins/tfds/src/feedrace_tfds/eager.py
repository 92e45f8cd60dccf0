"""The source that loads a split once and then is JAX alone."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from feedrace.plugin import ArraySource, DataError, canonical, is_host_dtype
from feedrace_tfds.config import TFDSEagerConfig
from feedrace_tfds.memory import device_memory, in_words
from feedrace_tfds.split_source import SplitSource

_BLOCK = 1024


class TFDSEagerSource(SplitSource, ArraySource):
    """A TFDS split held whole on the device; strings stay on the host.

    Its records are loaded when they are first needed, after which no file is read again. With
    `on_error = "skip"` they are loaded at once, since what is left out changes their number.

    Raises `DataError`, besides, for features whose shape varies and that `pad_to` gives no length,
    and for a split that does not fit the device's memory.
    """

    def __init__(
        self, config: TFDSEagerConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        layout = self._split.decoder.layout
        if layout.ragged():
            raise DataError(
                f"dataset {self._split.info.full_name} has features whose shape varies from record "
                f"to record: {', '.join(layout.ragged())}; give their lengths in pad_to, leave "
                f"them out with exclude_keys, or use tfds-streaming"
            )
        size, memory = layout.decoded_bytes(self.length), device_memory()
        if size > memory:
            raise DataError(
                f"{self.length} records of {self.dataset_name}:{self.split_name} are "
                f"{in_words(size)} decoded, and the device has {in_words(memory)}; use "
                f"tfds-streaming, a part of the split, or fewer features"
            )
        if config.on_error == "skip":
            _ = self.data
            self.length -= len(self.bad_records)

    def load(self) -> dict[str, Any]:
        split, count = self._split, len(self._split)
        arrays = split.decoder.layout.allocate(count)
        for start in range(0, count, _BLOCK):
            split.fill(np.arange(start, min(start + _BLOCK, count)), arrays, start)
        loaded: dict[str, Any] = split.decoder.layout.pack(arrays)
        left_out = split.left_out(np.arange(count))
        if left_out.any():
            good = np.flatnonzero(~left_out)
            if not len(good):
                raise DataError(f"split {split.name!r} has no record that is good")
            loaded = jax.tree.map(lambda leaf: leaf[good], loaded)
        moved: dict[str, Any] = jax.tree_util.tree_map_with_path(_moved, loaded)
        return moved

    def identity(self) -> str:
        identity = super().identity()
        if self.config.on_error != "skip" or not self.bad_records:
            return identity
        return f"{identity} without {', '.join(str(bad.number) for bad in self.bad_records)}"


def _moved(path: Any, leaf: Any) -> Any:
    """Return an array on the device; where the CPU is it, `jax.device_put` spares the copy."""
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return leaf if is_host_dtype(leaf.dtype) else jax.device_put(canonical(name, leaf))
