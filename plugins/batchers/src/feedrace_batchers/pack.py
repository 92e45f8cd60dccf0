"""The batcher that packs several sequences into each row."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from feedrace.plugin import VALID_MASK, check_batch_size, is_wide, map_leaves
from feedrace_batchers.grouping import PACKED, SEGMENT_MASK, Grouped, check_others, pack_window
from feedrace_batchers.specs import mask_spec, sequence_spec, split_spec, with_leading
from feedrace_batchers.windowed import WindowedBatcher


class PackBatcher(WindowedBatcher):
    """Packs the sequences of a window into rows of static length.

    A batch holds `batch_size` rows. Each sequence field gets fields of shape (batch_size, row
    length): `<field>_segmentation`, int32, 1 for the first sequence of the row, 2 for the second
    and so on, 0 for padding; `<field>_position`, int32, counted from 0 in each sequence; and
    `<field>_mask`, bool, True at data. The sequences of one record have one segment number in all
    fields. `valid_mask` separates rows that hold something from padding.

    With `max_segments`, other fields have one entry for each segment, of shape (batch_size,
    max_segments, ...), segment 1 first, and `segment_mask` separates entries from padding.
    """

    def window_size(self, batch_size: int) -> int:
        """Return the number of records in a window."""
        if self.config.window is not None:
            return super().window_size(batch_size)
        check_batch_size(batch_size)
        return batch_size * max(128, min(1024, 2**17 // batch_size))

    def batches_of_window(self, records: dict[str, Any], *, batch_size: int) -> Iterator[Grouped]:
        """Yield the batches of one window, as `grouping.pack_window` does."""
        return pack_window(records, self.config, batch_size=batch_size, wide=is_wide())

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch.

        Raises `ConfigError` for a batch size below 1; `DataError` if a field is missing, is not a
        sequence, has a name that the batcher gives, or has no place in a row.
        """
        check_batch_size(batch_size)
        packed, others = split_spec(element_spec, self.config.fields, PACKED)
        check_others(others, self.config)
        batch: dict[str, Any] = {}
        for name, length in self.config.fields.items():
            place = jax.ShapeDtypeStruct((batch_size, length), np.dtype(np.int32))
            batch[name] = sequence_spec(packed[name], (batch_size, length))
            batch[f"{name}_segmentation"] = batch[f"{name}_position"] = place
            batch[f"{name}_mask"] = mask_spec(batch_size, length)
        if self.config.max_segments is not None:
            shape = (batch_size, self.config.max_segments)
            batch[SEGMENT_MASK] = mask_spec(*shape)
            others = map_leaves(lambda leaf: with_leading(shape, leaf), others)
        return {**batch, **others, VALID_MASK: mask_spec(batch_size)}
