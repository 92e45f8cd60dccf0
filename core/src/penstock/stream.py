"""One stream of a pipeline: from the indices of a step to its batch."""

from typing import Any

import attrs
import jax

from penstock import specs
from penstock.builtin.config import SequentialSamplerConfig
from penstock.builtin.sequential import SequentialSamplerModule
from penstock.errors import DataError
from penstock.placement import to_device
from penstock.plan import Step, StreamPlan
from penstock.source import split_records
from penstock.stages import Stages


@attrs.frozen(kw_only=True, eq=False)
class Stream:
    """The parts that make the batches of one stream."""

    plan: StreamPlan
    source: Any
    sampler: Any
    batcher: Any
    stages: Stages

    def batch(self, step: Step) -> dict[str, Any]:
        """Return the batch of a step: read, grouped, moved to the device, and staged."""
        numbers = step.indices.reshape(-1)  # a sampler of windows gives a row for each element
        records = self.source.fetch(numbers)
        count = specs.count_records(records)
        if count != len(numbers):
            raise DataError(f"the source gave {count} records; {len(numbers)} were asked for")
        if step.indices.ndim > 1:
            records = jax.tree.map(
                lambda leaf: leaf.reshape(*step.indices.shape, *leaf.shape[1:]), records
            )
        batch = _collate(self.batcher, records, self.plan.batch_size)
        epoch, position = divmod(step.start, self.plan.records_per_epoch)
        return self.stages(to_device(batch), epoch, position)

    def batch_spec(self) -> dict[str, Any]:
        """Return the spec of its batches, after all stages."""
        element, size = self.source.element_spec(), self.plan.batch_size
        if hasattr(self.sampler, "index_spec"):
            window = self.sampler.index_spec().shape
            element = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((*window, *leaf.shape), leaf.dtype), element
            )
        if self.batcher is None:
            return self.stages.spec(specs.batch_spec(element, batch_size=size))
        return self.stages.spec(self.batcher.batch_spec(element, batch_size=size))


def own_order(source: Any) -> Any:
    """Return the source itself where it orders its records, else their stored order."""
    if hasattr(source, "indices"):
        return source
    return SequentialSamplerModule(SequentialSamplerConfig(num_records=len(source)))


def _collate(batcher: Any, records: dict[str, Any], batch_size: int) -> dict[str, Any]:
    if batcher is None:
        return specs.pad_batch(records, batch_size=batch_size)
    if hasattr(batcher, "collate"):
        whole: dict[str, Any] = batcher.collate(records, batch_size=batch_size)
        return whole
    batches = list(batcher.process(list(split_records(records)), batch_size=batch_size))
    if len(batches) != 1:
        raise DataError(
            f"{type(batcher).__name__} made {len(batches)} batches of the records of one; "
            f"a pipeline's batcher makes 1 batch of up to batch_size records"
        )
    made: dict[str, Any] = batches[0]
    return made
