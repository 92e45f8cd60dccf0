"""The sampler for storage in which distant reads are slow."""

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import Order, SamplerModule


class BlockShuffleSamplerModule(SamplerModule):
    """Blocks of consecutive records permuted, then records permuted inside windows of blocks.

    Every record comes exactly once per epoch, and the records of `window_blocks` blocks at a time
    are read together; any position is reached in O(1).
    """

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at absolute positions [start, stop)."""
        n = self.records_per_epoch
        parts = [np.empty(0, np.int64)]
        while start < stop:
            epoch, first = divmod(start, n)
            last = min(first + stop - start, n)
            parts.append(self._of_epoch(epoch, first, last))
            start += last - first
        return np.concatenate(parts)

    def _of_epoch(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the record numbers at positions [start, stop) of one epoch."""
        n, size, width = self.records_per_epoch, self.config.block_size, self.config.window_blocks
        blocks = -(-n // size)
        missing = blocks * size - n  # from the last block, which may come anywhere in the order
        block_order = Order(blocks, self.config.seed, stream=1)
        short_slot = int(block_order.positions(epoch, blocks - 1))

        def begin(slot: int) -> int:
            return int(min(slot, blocks) * size - (missing if slot > short_slot else 0))

        parts = []
        while start < stop:
            window = start // (size * width)
            while begin((window + 1) * width) <= start:  # a short block moves what follows
                window += 1
            first, last = window * width, min((window + 1) * width, blocks)
            low, high = begin(first), begin(last)
            inside = min(stop, high) - start
            place = epoch * (high - low) + start - low
            local = Order(high - low, self.config.seed, window + 2).indices(place, place + inside)
            relative = short_slot - first
            moved = local >= relative * size + size - missing
            local += np.where(moved & (0 <= relative < last - first), missing, 0)
            order = block_order.indices(epoch * blocks + first, epoch * blocks + last)
            parts.append(order[local // size] * size + local % size)
            start += inside
        return np.concatenate(parts)
