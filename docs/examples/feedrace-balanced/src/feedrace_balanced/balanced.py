"""The sampler that draws labels in given shares."""

import math
from typing import Any

import attrs
import numpy as np
from flax import nnx

from feedrace.plugin import ConfigError, Order, Problem, SamplerModule, column
from feedrace_balanced.config import BalancedConfig


@attrs.frozen(eq=False)
class _Groups:
    """Records by label: `members[i]` have the label that gets `counts[i]` draws of a period."""

    members: tuple[Any, ...]
    counts: Any


class BalancedSampler(SamplerModule):
    """Draws records so that each label has exactly its share of each period of draws.

    With equal shares a period is one draw of each label; otherwise it is the sum of the shares. The
    seed determines the order of the labels. Every record of a label comes once before any of them
    comes again, in a new order each time. The record at a position is a function of the seed and
    the position, found in O(1), so the state is a position.
    """

    def __init__(
        self, config: BalancedConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        self._groups: Any = nnx.static(None)
        if config.labels is not None:
            self._groups = nnx.static(_grouped(np.array(config.labels), config))

    def attach(self, source: Any) -> None:
        """Read the labels from the source, unless the config has them."""
        if self.config.labels is None:
            labels = column(source, self.config.label)
            self._groups = nnx.static(_grouped(labels, self.config))

    @property
    def records_per_epoch(self) -> int:
        """Number of draws in one epoch."""
        if self.config.epoch_size is not None:
            return int(self.config.epoch_size)
        if self.config.labels is not None:
            return len(self.config.labels)
        return super().records_per_epoch

    def indices(self, start: int, stop: int) -> Any:
        """Return the record numbers at positions [start, stop)."""
        if self._groups is None:
            message = "missing, and no source has been attached to read them from"
            raise ConfigError([Problem("labels", message)])
        counts, seed = self._groups.counts, self.config.seed
        period = int(counts.sum())
        # All periods have their slots in the same order; each label has `counts` of them.
        positions = np.arange(start, stop, dtype=np.int64)
        slots = Order(period, seed).indices(0, period)[positions % period]
        ends = np.cumsum(counts)
        chosen = np.searchsorted(ends, slots, side="right")
        draws = positions // period * counts[chosen] + slots - (ends - counts)[chosen]
        indices = np.empty(stop - start, np.int64)
        for number in np.unique(chosen).tolist():
            mine, members = np.flatnonzero(chosen == number), self._groups.members[number]
            first, last = int(draws[mine].min()), int(draws[mine].max()) + 1
            order = Order(len(members), seed, stream=number + 1).indices(first, last)
            indices[mine] = members[order[draws[mine] - first]]
        return indices


def _grouped(labels: Any, config: BalancedConfig) -> _Groups:
    if labels.ndim != 1 or labels.dtype.kind not in "biuUSO":
        problem = f"field {config.label!r} has labels of shape {labels.shape[1:]}, {labels.dtype}"
        rule = "each record needs one int or string"
        raise ConfigError([Problem("label", f"{problem}; {rule}")])
    known, numbers = np.unique(labels, return_inverse=True)
    names = [str(label) for label in known]
    shares = dict.fromkeys(names, 1) if config.shares is None else config.shares
    unknown = sorted(label for label, share in shares.items() if label not in names and share)
    if unknown:
        message = f"no record has this label; the labels are {', '.join(names[:20])}"
        raise ConfigError([Problem(f"shares.{label}", message) for label in unknown])
    divisor = math.gcd(*(shares.get(name, 0) for name in names))
    drawn = [i for i, name in enumerate(names) if shares.get(name, 0)]
    return _Groups(
        members=tuple(np.flatnonzero(numbers == i) for i in drawn),
        counts=np.array([shares[names[i]] // divisor for i in drawn], np.int64),
    )
