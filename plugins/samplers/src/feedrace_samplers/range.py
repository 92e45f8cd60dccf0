"""The sampler of evenly spaced records."""

from typing import Any

import numpy as np

from feedrace.plugin import SamplerModule


class RangeSamplerModule(SamplerModule):
    """Records start, start + step, ... before stop, epoch after epoch."""

    @property
    def records_per_epoch(self) -> int:
        """Number of records in the range."""
        if self.config.stop is None:
            _ = super().records_per_epoch  # which tells where the number of records is missing
        return len(self.config.records())

    def indices(self, start: int, stop: int) -> Any:
        within = np.arange(start, stop, dtype=np.int64) % self.records_per_epoch
        return self.config.start + within * self.config.step
