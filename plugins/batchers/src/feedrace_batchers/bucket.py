"""The batcher that groups records by length into a few static shapes."""

from collections.abc import Iterator
from typing import Any

from flax import nnx

from feedrace.plugin import batch_spec, is_wide
from feedrace_batchers.boundaries import choose_boundaries
from feedrace_batchers.config import BucketBatcherConfig
from feedrace_batchers.grouping import MASKED, Grouped, bucket_window
from feedrace_batchers.specs import mask_spec, sequence_spec, split_spec
from feedrace_batchers.windowed import WindowedBatcher


class BucketBatcher(WindowedBatcher):
    """Pads the records of each batch to the first of its `boundaries` that holds them all.

    Each sequence field gets a field `<field>_mask`, bool (batch_size, boundary), True at data;
    `valid_mask` separates rows from padding. There are at most as many shapes as boundaries.
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

    def batches_of_window(self, records: dict[str, Any], *, batch_size: int) -> Iterator[Grouped]:
        """Yield the batches of one window, as `grouping.bucket_window` does."""
        return bucket_window(
            records, self.config, self.boundaries, batch_size=batch_size, wide=is_wide()
        )

    def batch_specs(self, element_spec: Any, *, batch_size: int) -> tuple[dict[str, Any], ...]:
        """Return the specs of batches, one for each boundary, from short to long.

        Raises `ConfigError` for a batch size below 1; `DataError` if a field is missing, is not a
        sequence, has a name that the batcher gives, or differs in length without being named.
        """
        limits = dict.fromkeys(self.config.fields, 0)
        ragged, others = split_spec(element_spec, limits, MASKED)
        rest = batch_spec(others, batch_size=batch_size)
        made = []
        for length in self.boundaries:
            batch = {}
            for name, spec in ragged.items():
                batch[name] = sequence_spec(spec, (batch_size, length))
                batch[f"{name}_mask"] = mask_spec(batch_size, length)
            made.append({**batch, **rest})
        return tuple(made)

    def batch_spec(self, element_spec: Any, *, batch_size: int) -> dict[str, Any]:
        """Return the spec of the largest batches; `batch_specs` returns all of them."""
        return self.batch_specs(element_spec, batch_size=batch_size)[-1]
