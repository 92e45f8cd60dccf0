"""The sampler that leaves the order alone."""

from typing import Any

import numpy as np

from feedrace.modules.sampler import SamplerModule


class SequentialSamplerModule(SamplerModule):
    """Records 0 to num_records - 1 in order, epoch after epoch."""

    def indices(self, start: int, stop: int) -> Any:
        return np.arange(start, stop, dtype=np.int64) % self.records_per_epoch

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        """Return the record numbers at int32 positions of an epoch, traceably."""
        return positions
