"""The source that loads a split once and then needs JAX alone."""

from contextlib import closing
from typing import Any

import jax
import numpy as np
from flax import nnx

from feedrace.plugin import (
    Arrays,
    ArraySource,
    BadRecord,
    DataError,
    ahead,
    clipped,
    did_you_mean,
    is_host_dtype,
    leaves,
    map_leaves,
    progress,
)
from feedrace_tfds.config import TFDSEagerConfig
from feedrace_tfds.memory import device_memory, in_words
from feedrace_tfds.split_source import SplitSource

_BLOCK = 256  # records that a thread loads at a time


class TFDSEagerSource(SplitSource, ArraySource):
    """A TFDS split held whole on the device; strings stay on the host.

    So do features whose shape varies and that `pad_to` gives no length, for a stage on records or a
    batcher that gives them one.

    Its records are loaded when they are first needed, after which no file is read again. With
    `on_error = "skip"` they are loaded at once, since leaving records out changes their number.

    Raises `DataError` also for a split that does not fit the device's memory.
    """

    def __init__(
        self, config: TFDSEagerConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        size, memory = self._layout.decoded_bytes(self.length), device_memory()
        if size > memory:
            raise DataError(
                f"{self.length} records of {self.dataset_name}:{self.split_name} are "
                f"{in_words(size)} decoded, and the device has {in_words(memory)}; use "
                f"tfds-streaming, a part of the split, or fewer features"
            )
        if config.on_error == "skip":
            _ = self.data
            self.length -= len(self.bad_records)

    @property
    def on_device(self) -> bool:
        """Whether all fields are on the device: none holds strings, or arrays of varying shape."""
        leaves = self._layout.leaves
        return not any(leaf.is_ragged or is_host_dtype(leaf.dtype) for leaf in leaves)

    def load(self) -> dict[str, Any]:
        """Return all good records, read and decoded."""
        reader = self._reader()
        count, arrays = len(reader), self._layout.allocate(len(reader))

        def load(start: int) -> tuple[int, Arrays, list[BadRecord]]:
            part = arrays.part(start, min(start + _BLOCK, count))
            reader.fill(np.arange(start, min(start + _BLOCK, count)), part)
            return start, part, reader.noted()

        blocks = range(0, count, _BLOCK)
        loaded_blocks = ahead(load, blocks, threads=self._threads, most=2 * self._threads)
        what = f"load {self.dataset_name}:{self.split_name}"
        with closing(loaded_blocks), progress(what, count, "records") as advance:
            for start, part, bad in loaded_blocks:
                arrays.put(start, part)
                self.note(bad)
                advance(min(_BLOCK, count - start))
        loaded = reader.pack(np.arange(count), arrays)
        good = ~reader.invalid_rows(np.arange(count))
        if not good.all():
            if not good.any():
                raise DataError(f"{self.dataset_name}:{self.split_name} has no good record")
            loaded = map_leaves(lambda leaf: leaf[good], loaded)
        moved: dict[str, Any] = map_leaves(_moved, loaded)
        return moved

    def collect_to_array(self, key: str = "image", device: jax.Device | None = None) -> jax.Array:
        """Return one field of all records as a single array on a device, for staged training.

        key: the field; the name of a nested one is dotted. device: None for where the records are.

        The order is the stored one. Raises `DataError` for a field that there is not, and for one
        that stays on the host.
        """
        fields = dict(leaves(self.data))
        if key not in fields:
            known = list(fields)
            raise DataError(
                f"no field {clipped(key)}{did_you_mean(str(key), known)}; there are "
                f"{', '.join(known)}"
            )
        if is_host_dtype(fields[key].dtype):
            what = "strings or arrays of varying shape"
            raise DataError(f"field {key!r} holds {what}, which stay on the host; use `data`")
        array: jax.Array = jax.device_put(fields[key], device)
        return array

    def identity(self) -> str:
        """Return the dataset's name and version, a digest of its files, and what was left out."""
        identity = super().identity()
        if self.config.on_error != "skip" or not self.bad_records:
            return identity
        return f"{identity} without {', '.join(str(bad.number) for bad in self.bad_records)}"


def _moved(leaf: Any) -> Any:
    """Return an array on the device; `jax.device_put` spares the copy if that is the CPU."""
    return leaf if is_host_dtype(leaf.dtype) else jax.device_put(leaf)
