"""The records of many orders at once, as the components of a mixture need them."""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plan import shuffle
from feedrace.plan.order import Order, on_cpu, round_keys

_FEW = 16  # from which on it pays to compute them together
_LARGE = 8192  # positions from which on an order alone is as fast
_MOST_ROWS = 4096  # in one call
_ROUNDS = (1, 2**12, 2**16, 2**31)  # orders of lengths between two of these have as many rounds


def indices_of(
    orders: Sequence[Order], starts: Sequence[int], counts: Sequence[int]
) -> NDArray[np.int64]:
    """Return the records at `counts` positions of each order from `starts` on, one after another.

    They are those that `Order.indices` gives. Many short stretches are computed together, which
    takes a fraction of the time, if the program has imported JAX.
    """
    ends = np.cumsum(counts)
    whole = np.empty(int(ends[-1]) if len(ends) else 0, np.int64)
    stretches: list[tuple[Order, int, int, int]] = []  # order, epoch, offset, where in `whole`
    lengths: list[int] = []
    for order, start, count, end in zip(orders, starts, counts, ends.tolist(), strict=True):
        place = end - count
        alone = len(orders) < _FEW or count > _LARGE or order.seed is None
        if alone or order.n >= _ROUNDS[-1] or "jax" not in sys.modules:
            whole[place:end] = order.indices(start, start + count)
            continue
        while place < end:  # one epoch at a time
            epoch, offset = divmod(start + count - (end - place), order.n)
            length = min(end - place, order.n - offset)
            stretches.append((order, epoch, offset, place))
            lengths.append(length)
            place += length
    lowest = np.array([order.n for order, *_ in stretches])
    for low, high in itertools.pairwise(_ROUNDS):
        chosen = np.flatnonzero((low <= lowest) & (lowest < high)).tolist()
        if chosen:
            _fill(whole, [stretches[i] for i in chosen], [lengths[i] for i in chosen])
    return whole


def _fill(
    whole: NDArray[np.int64], stretches: Sequence[tuple[Order, int, int, int]], lengths: list[int]
) -> None:
    """Write the records of stretches, all of one number of rounds, into their places."""
    from feedrace.plan import xla

    n = np.array([order.n for order, *_ in stretches])
    parts = [[order.seed, epoch, order.stream] for order, epoch, *_ in stretches]
    seeds, epochs, streams = np.array(parts, np.uint64).T
    keys = np.array(round_keys(int(n[0]), seeds, epochs, streams))
    domains = [shuffle.domain(one) for one in n.tolist()]
    offsets = np.array([offset for _, _, offset, _ in stretches])
    rows = -(-np.array(lengths) // xla.ROW)
    owner = np.repeat(np.arange(len(rows)), rows)
    begins = np.cumsum(rows) - rows
    within = np.arange(len(owner)) - begins[owner]
    table = np.stack([(offsets[owner] + within * xla.ROW), n[owner], *np.array(domains)[owner].T])
    columns = table.astype(np.uint32)[:, :, None]
    permuted = np.empty((len(owner), xla.ROW), np.uint32)
    with on_cpu():
        for start in range(0, len(owner), _MOST_ROWS):
            stop = min(start + _MOST_ROWS, len(owner))
            size = max(64, 1 << (stop - start - 1).bit_length())  # few sizes: each is compiled
            some = np.resize(np.arange(start, stop), size)
            made: Any = xla.jitted_rows(*columns[:, some], keys[:, owner[some], None])
            permuted[start:stop] = np.asarray(made)[: stop - start]
    flat = permuted.reshape(-1)
    a, k = np.array(domains, np.uint32).T
    outside = np.flatnonzero(permuted >= columns[1])  # walks on along its cycle until it is inside
    while outside.size:
        mine = owner[outside // xla.ROW]
        walked = shuffle.network(flat[outside], a[mine], k[mine], list(keys[:, mine]))
        flat[outside] = walked
        outside = outside[walked >= n[mine]]
    for (_, _, _, place), begin, length in zip(stretches, begins.tolist(), lengths, strict=True):
        whole[place : place + length] = flat[begin * xla.ROW : begin * xla.ROW + length]
