"""The sampler that shuffles, one epoch a pass."""

from typing import Any

from feedrace.plugin import SamplerModule, epoch_indices, traced_indices


class ShuffleSamplerModule(SamplerModule):
    """Every record exactly once a pass, each pass in another order."""

    def indices(self, start: int, stop: int) -> Any:
        return epoch_indices(start, stop, self.records_per_epoch, seed=self.config.seed)

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        """Return the records at int32 positions of an epoch (uint32), traceably."""
        return traced_indices(epoch, positions, self.records_per_epoch, seed=self.config.seed)
