"""The sampler that reports the end of each epoch."""

from collections.abc import Callable
from typing import Any, Self

from flax import nnx

from feedrace.plugin import ConfigError, OrderedSamplerModule, Problem, clipped

EpochCallback = Callable[[int], Any]


class EpochAwareSamplerModule(OrderedSamplerModule):
    """Every record exactly once per epoch, in another order each epoch.

    The order is a function of seed, epoch and position alone (`feedrace.plugin.Order`), so that any
    position is reached in O(1) time and memory.

    Raises `ConfigError` if the config has no `num_records`.
    """

    epoch_complete_callbacks: tuple[EpochCallback, ...] = ()

    def add_epoch_callback(self, callback: EpochCallback) -> None:
        """Call `callback(epoch)` once for each epoch handed out whole, in order."""
        if not callable(callback):
            raise ConfigError([Problem("callback", f"{clipped(callback)} is not callable")])
        self.epoch_complete_callbacks = nnx.static((*self.epoch_complete_callbacks, callback))

    def epoch_completed(self, epoch: int) -> None:
        for callback in self.epoch_complete_callbacks:
            callback(epoch)

    def take_over(self, other: Self) -> None:
        """Take the callbacks too."""
        super().take_over(other)
        self.epoch_complete_callbacks = nnx.static(other.epoch_complete_callbacks)

    def get_epoch_progress(self) -> float:
        """Return the share of the current epoch handed out so far, from 0.0 to below 1.0."""
        return (self.position % self.records_per_epoch) / self.records_per_epoch
