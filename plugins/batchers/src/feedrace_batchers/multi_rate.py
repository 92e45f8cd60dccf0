"""The batcher of fields that are sampled at different rates."""

from collections.abc import Iterator
from typing import Any

from feedrace.plugin import batch_spec, check_batch_size, is_wide
from feedrace_batchers.grouping import MASKED, Grouped, cut_window
from feedrace_batchers.specs import mask_spec, sequence_spec, split_spec
from feedrace_batchers.windowed import WindowedBatcher


class MultiRateBatcher(WindowedBatcher):
    """Cuts or pads each field, whatever its sampling rate, to a window of static length.

    Each of these fields gets a field `<field>_mask`, bool (batch_size, window length), True at
    data; a shorter recording is padded at its end. Records come in order, one in each row; if
    longer ones are split, a record becomes as many rows as its fields have windows, each with the
    same stretch of time of all fields.
    """

    def batches_of_window(self, records: dict[str, Any], *, batch_size: int) -> Iterator[Grouped]:
        """Yield the batches of some records, in order, as `grouping.cut_window` does."""
        return cut_window(records, self.config, batch_size=batch_size, wide=is_wide())

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch.

        Raises `ConfigError` for a batch size below 1; `DataError` if a field is missing, is not a
        sequence, has a name that the batcher gives, or differs in length without being named.
        """
        check_batch_size(batch_size)
        sampled, others = split_spec(element_spec, self.config.fields, MASKED)
        batch: dict[str, Any] = {}
        for name, length in self.config.fields.items():
            batch[name] = sequence_spec(sampled[name], (batch_size, length))
            batch[f"{name}_mask"] = mask_spec(batch_size, length)
        return {**batch, **batch_spec(others, batch_size=batch_size)}
