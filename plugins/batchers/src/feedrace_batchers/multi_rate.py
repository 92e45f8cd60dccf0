"""The batcher of fields that are sampled at rates of their own."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from feedrace.plugin import VALID_MASK, batch_spec, check_batch_size
from feedrace_batchers import sequences
from feedrace_batchers.windowed import WindowedBatcher

_SUFFIXES = ("_mask",)


class MultiRateBatcher(WindowedBatcher):
    """Gives each field that is sampled at a rate of its own a window of static length.

    Beside each of these fields stands `<field>_mask`, bool (batch_size, window length), True where
    there is data; a shorter recording is padded at its end. Records come in order, one a row; where
    longer ones are split, a record makes as many rows as its fields have windows, the same stretch
    of time of all fields in one row.
    """

    def batches_of_window(
        self, records: dict[str, Any], *, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """Yield the batches of some records, in order."""
        fields = self.config.fields
        sequences.check_names(records, fields, _SUFFIXES)
        pieces, others = sequences.read(records, fields, self.config.too_long)
        others = sequences.on_host(others)
        for start in range(0, len(pieces.record), batch_size):
            rows = slice(start, start + batch_size)
            record = pieces.record[rows]
            batch: dict[str, Any] = {}
            for i, (name, length) in enumerate(fields.items()):
                column = pieces.fields[name][rows]
                pad_value = self.config.pad_value
                batch[name] = sequences.pad(column, record, batch_size, length, name, pad_value)
                lengths = pieces.lengths[i, rows]
                batch[f"{name}_mask"] = sequences.mask_of(lengths, batch_size, length)
            batch |= sequences.take(others, record, batch_size)
            batch[VALID_MASK] = np.arange(batch_size) < len(record)
            keys = sequences.row_keys(pieces.keys[rows], batch_size)
            yield batch, record[pieces.first[rows]], keys

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch.

        Raises `ConfigError` for a batch size below 1; `DataError` where a field is missing, is no
        sequence, has a name that the batcher gives, or differs in length without being named.
        """
        check_batch_size(batch_size)
        sampled, others = sequences.split_spec(element_spec, self.config.fields, _SUFFIXES)
        batch: dict[str, Any] = {}
        for name, length in self.config.fields.items():
            batch[name] = sequences.sequence_spec(sampled[name], batch_size, length)
            shape = (batch_size, length)
            batch[f"{name}_mask"] = jax.ShapeDtypeStruct(shape, np.dtype(bool))
        return {**batch, **batch_spec(others, batch_size=batch_size)}
