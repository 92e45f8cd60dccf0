"""The sampler that mixes several components in given shares."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Order, SamplerModule

_PARTS = 2**16


class MixtureSamplerModule(SamplerModule):
    """Draws from components by weight: after any k draws each is within one of k times its share.

    Each component is served whole before any of its records comes again, in another order each
    time. Which component a draw takes repeats with the period of the weights, at most 65,536, so
    that any position is reached in O(1).
    """

    @property
    def records_per_epoch(self) -> int:
        """Number of draws in one epoch."""
        if self.config.epoch_size is not None:
            return int(self.config.epoch_size)
        return sum(self.config.sizes)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop)."""
        counts, chosen = _period(self.config.sizes, self.config.weights)
        period = len(chosen)
        parts = chosen[np.arange(start, stop) % period]
        indices = np.empty(stop - start, np.int64)
        base, seed = 0, self.config.seed if self.config.shuffle else None
        for part, size in enumerate(self.config.sizes):
            mine = np.flatnonzero(parts == part)
            if mine.size:
                # The draws of one component in a stretch are consecutive numbers.
                periods, within = divmod(start, period)
                before = int(np.count_nonzero(chosen[:within] == part))
                first = periods * counts[part] + before
                order = Order(size, seed, stream=part + 1)
                indices[mine] = base + order.indices(first, first + mine.size)
            base += size
        return indices


@functools.lru_cache(maxsize=32)
def _period(
    sizes: tuple[int, ...], weights: tuple[float, ...] | None
) -> tuple[list[int], NDArray[np.int32]]:
    """Return the draws of each component in a period, and the component of each draw."""
    counts = whole_weights(sizes if weights is None else weights)
    return counts, chairman_assignment(counts)


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to `weights`, adding up to at most 65,536.

    Weights that are whole and small stay as they are, but for a common divisor.
    """
    weights = [w / max(weights) for w in weights] if max(weights) > 2**53 else list(weights)
    whole = [int(w) for w in weights] if all(float(w).is_integer() for w in weights) else []
    if not whole or sum(whole) // math.gcd(*whole) > _PARTS:
        exact = [w / math.fsum(weights) * _PARTS for w in weights]
        whole = [max(round(x), 1) if x > 0 else 0 for x in exact]
        largest = max(range(len(whole)), key=lambda i: whole[i])
        whole[largest] += _PARTS - sum(whole)
        for parts in (10, 100, 1000, 10_000):  # decimal weights, such as 0.7 and 0.3, are exact
            tried = [w / math.fsum(weights) * parts for w in weights]
            exactly = all(abs(x - round(x)) < 1e-9 * parts for x in tried)
            if exactly and all(round(x) > 0 or w == 0 for x, w in zip(tried, weights, strict=True)):
                whole = [round(x) for x in tried]
                break
    divisor = math.gcd(*whole)
    return [w // divisor for w in whole]


def chairman_assignment(counts: Sequence[int]) -> NDArray[np.int32]:
    """Return which component each draw of a period takes: every prefix within one of its shares.

    counts: draws of each component in the period. The algorithm is Tijdeman's for the chairman
    assignment problem (1980): of the components that are owed enough, the one whose deadline is
    first. Returns an array of shape (sum(counts),).
    """
    period = sum(counts)
    shares = [(i, count / period) for i, count in enumerate(counts) if count]
    slack = 1 / (2 * len(shares) - 2) if len(shares) > 1 else 1.0
    taken = dict.fromkeys((i for i, _ in shares), 0)
    chosen = np.empty(period, np.int32)
    for draw in range(1, period + 1):
        owed = [(i, w) for i, w in shares if w * draw - taken[i] >= slack - 1e-9]
        winner = min(owed or shares, key=lambda pair: (taken[pair[0]] + 1 - slack) / pair[1])[0]
        taken[winner] += 1
        chosen[draw - 1] = winner
    return chosen
