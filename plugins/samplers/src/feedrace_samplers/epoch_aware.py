"""The sampler that knows about epochs."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from flax import nnx

from feedrace.plugin import ConfigError, Problem, SamplerModule, epoch_indices, traced_indices
from feedrace_samplers.config import EpochAwareSamplerConfig

EpochCallback = Callable[[int], Any]


class EpochAwareSamplerModule(SamplerModule):
    """Every record exactly once per epoch, in another order each epoch.

    Position p lies in epoch p // num_records. The order is a function of seed, epoch and position
    alone (`feedrace.plan.shuffle`), so that any position is reached in O(1) time and memory.

    Raises `ConfigError` where the config has no `num_records`.
    """

    def __init__(
        self,
        config: EpochAwareSamplerConfig,
        *,
        rngs: nnx.Rngs | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self.epoch_complete_callbacks: tuple[EpochCallback, ...] = nnx.static(())
        _ = self.records_per_epoch  # a missing num_records is told here, not at the first index

    def indices(self, start: int, stop: int) -> Any:
        """Return the records at absolute positions [start, stop), int64."""
        n = self.records_per_epoch
        if self.config.shuffle:
            return epoch_indices(start, stop, n, seed=self.config.seed)
        return np.arange(start, stop, dtype=np.int64) % n

    def indices_at(self, epoch: Any, positions: Any) -> Any:
        """Return the records at int32 positions of an epoch (uint32), traceably."""
        if self.config.shuffle:
            n = self.records_per_epoch
            return traced_indices(epoch, positions, n, seed=self.config.seed)
        return positions

    def add_epoch_callback(self, callback: EpochCallback) -> None:
        """Have `callback(epoch)` called once for each epoch handed out whole, in order."""
        if not callable(callback):
            raise ConfigError([Problem("callback", f"{callback!r} is not callable")])
        self.epoch_complete_callbacks = nnx.static((*self.epoch_complete_callbacks, callback))

    def epoch_completed(self, epoch: int) -> None:
        for callback in self.epoch_complete_callbacks:
            callback(epoch)

    def take_over(self, other: Self) -> None:
        """Take the callbacks, too."""
        super().take_over(other)
        self.epoch_complete_callbacks = nnx.static(other.epoch_complete_callbacks)

    def get_epoch_progress(self) -> float:
        """Return the share of the current epoch that was handed out, from 0.0 up to below 1.0."""
        return (self.position % self.records_per_epoch) / self.records_per_epoch
