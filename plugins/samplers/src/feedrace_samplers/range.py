"""The sampler of evenly spaced records."""

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Order, SamplerModule


class RangeSamplerModule(SamplerModule):
    """Records start, start + step, ... before stop, epoch after epoch."""

    @property
    def records_per_epoch(self) -> int:
        """Number of records in the range."""
        if self.config.stop is None:
            _ = super().records_per_epoch  # raises if the number of records is missing
        return len(self.config.records())

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop)."""
        within = Order(self.records_per_epoch).indices(start, stop)
        start, step = self.config.start, self.config.step
        indices: NDArray[np.int64] = start + within * step
        return indices
