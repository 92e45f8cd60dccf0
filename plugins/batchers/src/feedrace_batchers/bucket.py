"""The batcher that groups records by length into a few static shapes."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from feedrace.plugin import VALID_MASK, batch_spec
from feedrace_batchers import sequences
from feedrace_batchers.boundaries import choose_boundaries
from feedrace_batchers.config import BucketBatcherConfig
from feedrace_batchers.windowed import WindowedBatcher

_SUFFIXES = ("_mask",)


class BucketBatcher(WindowedBatcher):
    """Pads the records of each batch to the first of its `boundaries` that holds them all.

    Beside each sequence field stands `<field>_mask`, bool (batch_size, boundary), True where there
    is data; `valid_mask` tells rows from padding. There are no more shapes than boundaries.
    """

    def __init__(
        self, config: BucketBatcherConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        super().__init__(config, rngs=rngs, name=name)
        boundaries = config.boundaries
        if boundaries is None:
            assert config.num_buckets is not None
            boundaries = choose_boundaries(config.sample_lengths, config.num_buckets)
        self.boundaries = boundaries

    def batches_of_window(
        self, records: dict[str, Any], *, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], Any, Any]]:
        """Yield the batches of one window, in the order in which their last records came.

        The records are put in order of bucket and cut into batches from the longest on, so that
        only the batch of the shortest may lack rows, and every other is full. A batch in which two
        buckets meet has the longer boundary.
        """
        limits = dict.fromkeys(self.config.fields, self.boundaries[-1])
        sequences.check_names(records, limits, _SUFFIXES)
        pieces, others = sequences.read(records, limits, self.config.too_long)
        others = sequences.on_host(others)
        buckets = np.searchsorted(self.boundaries, pieces.lengths.max(axis=0, initial=0))
        order = np.argsort(buckets, kind="stable")
        if not len(order):
            return
        short = len(order) % batch_size
        groups = np.split(order, range(short or batch_size, len(order), batch_size))
        for group in sorted(groups, key=lambda group: int(group.max())):
            length = self.boundaries[int(buckets[group].max())]
            group = np.sort(group)
            yield self._batch(pieces, others, group, batch_size, length)

    def _batch(
        self, pieces: Any, others: dict[str, Any], group: Any, batch_size: int, length: int
    ) -> tuple[dict[str, Any], Any, Any]:
        records = pieces.record[group]
        batch = {}
        for i, (name, column) in enumerate(pieces.fields.items()):
            rows = [column[piece] for piece in group.tolist()]
            pad_value = self.config.pad_value
            batch[name] = sequences.pad(rows, records, batch_size, length, name, pad_value)
            batch[f"{name}_mask"] = sequences.mask_of(pieces.lengths[i, group], batch_size, length)
        mask = np.arange(batch_size) < len(group)
        batch |= sequences.take(others, records, batch_size)
        keys = sequences.row_keys(pieces.keys[group], batch_size)
        return {**batch, VALID_MASK: mask}, records[pieces.first[group]], keys

    def batch_specs(self, element_spec: Any, *, batch_size: int) -> tuple[dict[str, Any], ...]:
        """Return the specs of batches, one for each boundary, from short to long.

        Raises `ConfigError` for a batch size below 1; `DataError` where a field is missing, is no
        sequence, has a name that the batcher gives, or differs in length without being named.
        """
        limits = dict.fromkeys(self.config.fields, 0)
        ragged, others = sequences.split_spec(element_spec, limits, _SUFFIXES)
        rest = batch_spec(others, batch_size=batch_size)
        made = []
        for length in self.boundaries:
            batch = {}
            for name, spec in ragged.items():
                batch[name] = sequences.sequence_spec(spec, batch_size, length)
                batch[f"{name}_mask"] = jax.ShapeDtypeStruct((batch_size, length), np.dtype(bool))
            made.append({**batch, **rest})
        return tuple(made)

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of the largest batches; `batch_specs` returns all of them."""
        return self.batch_specs(element_spec, batch_size=batch_size)[-1]
