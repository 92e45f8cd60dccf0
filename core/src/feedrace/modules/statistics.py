"""What a module knows of the data it works on, and of its calls."""

from collections.abc import Mapping
from typing import Any

from flax import nnx


class Statistics:
    """The statistics of a module: given, precomputed in its config, or computed from data."""

    config: Any
    _applied_count: "nnx.Variable[int]"
    _skipped_count: "nnx.Variable[int]"
    _statistics: Mapping[str, Any] | None
    _computed_stats: Mapping[str, Any] | None

    def get_operation_stats(self) -> dict[str, int]:
        """Return `applied_count`, its completed calls, and `skipped_count`, items it left out."""
        return {
            "applied_count": int(self._applied_count.get_value()),
            "skipped_count": int(self._skipped_count.get_value()),
        }

    def reset_operation_stats(self) -> None:
        """Set both counts to zero."""
        self._applied_count.set_value(0)
        self._skipped_count.set_value(0)

    def compute_statistics(self, data: Any) -> dict[str, Any] | None:
        """Return `config.batch_stats_fn(data)` and remember it; None without such a function."""
        if self.config.batch_stats_fn is None:
            return None
        computed: dict[str, Any] = self.config.batch_stats_fn(data)
        self._computed_stats = nnx.data(computed)
        return computed

    def get_statistics(self) -> Mapping[str, Any] | None:
        """Return the statistics set or precomputed, else the computed ones, else None."""
        return self._computed_stats if self._statistics is None else self._statistics

    def set_statistics(self, stats: dict[str, Any]) -> None:
        """Replace all statistics by `stats`."""
        self._statistics = nnx.data(stats)
        self._computed_stats = nnx.data(None)

    def reset_statistics(self) -> None:
        """Forget all statistics, precomputed ones too."""
        self._statistics = nnx.data(None)
        self._computed_stats = nnx.data(None)
