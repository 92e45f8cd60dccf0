"""The sampler of windows of consecutive records."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from feedrace.plugin import SamplerModule, epoch_indices


class SlidingWindowSamplerModule(SamplerModule):
    """Windows of `window_size` records, `stride` apart; an epoch is every window once."""

    @property
    def records_per_epoch(self) -> int:
        """Number of windows."""
        records = super().records_per_epoch
        return int((records - self.config.window_size) // self.config.stride + 1)

    def indices(self, start: int, stop: int) -> Any:
        """Return the records of the windows at positions [start, stop): int64, a row for each."""
        n = self.records_per_epoch
        if self.config.shuffle:
            windows = epoch_indices(start, stop, n, seed=self.config.seed)
        else:
            windows = np.arange(start, stop, dtype=np.int64) % n
        return windows[:, None] * self.config.stride + np.arange(self.config.window_size)

    def index_spec(self) -> Any:
        """Return the spec of one emitted index: int32 of shape (window_size,)."""
        return jax.ShapeDtypeStruct((self.config.window_size,), jnp.int32)
