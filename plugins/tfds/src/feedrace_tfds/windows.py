"""The order of a shuffle buffer as a function: each window of records is permuted separately."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Order


def window_indices(start: int, stop: int, n: int, *, window: int, seed: int) -> NDArray[np.int64]:
    """Return the records at absolute positions [start, stop): int64 of shape (stop - start,).

    Position p lies in epoch p // n, in which each `window` consecutive records are permuted.
    """
    parts = [np.empty(0, np.int64)]
    while start < stop:
        epoch, offset = divmod(start, n)
        number, within = divmod(offset, window)
        size = min(window, n - number * window)
        count = min(stop - start, size - within)
        order, first = Order(size, seed, stream=number + 1), epoch * size + within
        parts.append(number * window + order.indices(first, first + count))
        start += count
    return np.concatenate(parts)


def traced_window_indices(epoch: Any, positions: Any, n: int, *, window: int, seed: int) -> Any:
    """Return the records at int32 positions of an epoch (uint32), as `window_indices` does."""
    numbers, within = positions // window, positions % window

    def permuted(size: int) -> Any:
        order = Order(size, seed, stream=(numbers + 1).astype(jnp.uint32))
        return order.traced(epoch, jnp.minimum(within, size - 1))

    if n <= window:
        return permuted(n)
    shuffled = permuted(window)
    if n % window:
        shuffled = jnp.where(numbers == n // window, permuted(n % window), shuffled)
    return numbers * window + shuffled
