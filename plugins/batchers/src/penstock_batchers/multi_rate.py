"""The batcher of fields that are sampled at rates of their own."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from penstock import BatcherModule, DataError, specs
from penstock_batchers import sequences
from penstock_batchers.stacking import Stacker

_SUFFIXES = ("_mask",)


class MultiRateBatcher(BatcherModule):
    """Gives each field that is sampled at a rate of its own a window of static length.

    Beside each of these fields stands `<field>_mask`, bool (batch_size, window length), True where
    there is data; a shorter recording is padded at its end. Records come in order, one a row.
    """

    def process(
        self,
        elements: Iterable[Any],
        *args: Any,
        batch_size: int,
        drop_remainder: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator of batches; no elements give no batch.

        elements: dicts of one structure; the config's fields are arrays or lists of any length,
            other fields are of one shape and dtype.

        Raises `ConfigError` for a batch size below 1; `DataError`, on the way, for an element that
        is unlike the first, too long, or not a dict, and for an integer that does not fit.
        """
        specs.check_batch_size(batch_size)
        return self._batches(iter(elements), batch_size, drop_remainder)

    def _batches(
        self, elements: Iterator[Any], batch_size: int, drop_remainder: bool
    ) -> Iterator[dict[str, Any]]:
        stacker = None
        number = 0
        while group := list(itertools.islice(elements, batch_size)):
            if len(group) < batch_size and drop_remainder:
                self._skipped_count.set_value(self._skipped_count.get_value() + len(group))
                return
            stacker = stacker or Stacker(group[0], self.config.fields)
            records = stacker.stack(group, number, len(group))
            try:
                yield self.collate(records, batch_size=batch_size)
            except DataError as error:
                error.add_note(f"record 0 is element {number}")
                raise
            number += len(group)

    def collate(self, records: dict[str, Any], *, batch_size: int) -> dict[str, Any]:
        """Return a batch of up to `batch_size` records.

        records: dict of arrays with one leading axis; the config's fields may be 1-D arrays of
            arrays. Raises `DataError` for records that do not fit.
        """
        fields = self.config.fields
        sequences.check_names(records, fields, _SUFFIXES)
        pieces, others = sequences.read(records, fields, self.config.too_long)
        count = len(pieces.record)
        specs.pad_batch({**others, "": pieces.record}, batch_size=batch_size)
        batch: dict[str, Any] = {}
        for i, (name, length) in enumerate(fields.items()):
            column = pieces.fields[name]
            batch[name] = sequences.pad(column, batch_size, length, name, self.config.pad_value)
            batch[f"{name}_mask"] = sequences.mask_of(pieces.lengths[i], batch_size, length)
        if others:
            batch |= specs.pad_batch(others, batch_size=batch_size)
        return {**batch, specs.VALID_MASK: np.arange(batch_size) < count}

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of a batch.

        Raises `ConfigError` for a batch size below 1; `DataError` where a field is missing, is no
        sequence, has a name that the batcher gives, or differs in length without being named.
        """
        specs.check_batch_size(batch_size)
        sampled, others = sequences.split_spec(element_spec, self.config.fields, _SUFFIXES)
        batch: dict[str, Any] = {}
        for name, length in self.config.fields.items():
            batch[name] = sequences.sequence_spec(sampled[name], batch_size, length)
            shape = (batch_size, length)
            batch[f"{name}_mask"] = jax.ShapeDtypeStruct(shape, np.dtype(bool))
        return {**batch, **specs.batch_spec(others, batch_size=batch_size)}
