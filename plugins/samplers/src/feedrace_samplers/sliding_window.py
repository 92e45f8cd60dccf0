"""The sampler of windows of consecutive records."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Order, SamplerModule


class SlidingWindowSamplerModule(SamplerModule):
    """Windows of `window_size` records, `stride` apart; an epoch is every window once."""

    @property
    def records_per_epoch(self) -> int:
        """Number of windows."""
        records = super().records_per_epoch
        return int((records - self.config.window_size) // self.config.stride + 1)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the records of the windows at positions [start, stop), a row for each."""
        order = Order(self.records_per_epoch, self.config.seed if self.config.shuffle else None)
        stride, size = int(self.config.stride), int(self.config.window_size)
        return (order.indices(start, stop) * stride)[:, None] + np.arange(size)

    def index_spec(self) -> jax.ShapeDtypeStruct:
        """Return the spec of one emitted index: int32 of shape (window_size,)."""
        return jax.ShapeDtypeStruct((self.config.window_size,), jnp.int32)
