"""The sampler for storage where distant reads are dear."""

from typing import Any

import numpy as np

from feedrace.plugin import Order, SamplerModule, epoch_spans


class BlockShuffleSamplerModule(SamplerModule):
    """Blocks of consecutive records permuted, then records permuted inside windows of blocks.

    Every record comes exactly once per epoch, and the records of `window_blocks` blocks at a time
    are read together; any position is reached in O(1).
    """

    def indices(self, start: int, stop: int) -> Any:
        spans = epoch_spans(start, stop, self.records_per_epoch)
        parts = [self._of_epoch(epoch, first, first + count) for epoch, first, count in spans]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def _of_epoch(self, epoch: int, start: int, stop: int) -> Any:
        n, size, width = self.records_per_epoch, self.config.block_size, self.config.window_blocks
        blocks = -(-n // size)
        lacking = blocks * size - n  # of the last block, which may stand anywhere in the order
        block_order = Order(blocks, self.config.seed, stream=1)
        short_slot = int(block_order.positions(epoch, blocks - 1))

        def begin(slot: int) -> int:
            return int(min(slot, blocks) * size - (lacking if slot > short_slot else 0))

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
            moved = local >= relative * size + size - lacking
            local += np.where(moved & (0 <= relative < last - first), lacking, 0)
            shown = block_order.indices(epoch * blocks + first, epoch * blocks + last)
            parts.append(shown[local // size] * size + local % size)
            start += inside
        return np.concatenate(parts)
