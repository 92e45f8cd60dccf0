"""One stream of a pipeline: from a planned step to its batches."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import jax
import numpy as np

from penstock import specs
from penstock.builtin.config import SequentialSamplerConfig
from penstock.builtin.sequential import SequentialSamplerModule
from penstock.errors import DataError, StateError
from penstock.placement import to_device
from penstock.plan import TRAIN, Step, StreamPlan
from penstock.source import split_records
from penstock.stages import Stages

INSIDE = "inside"  # counter: batches done of a window that is not done yet


@attrs.frozen(kw_only=True, eq=False)
class Loaded:
    """A step whose batch is on the device, before the stages.

    positions: uint32, the place in `epoch` of the batch's first record, or of each row's record.
    """

    step: Step
    batch: dict[str, Any]
    epoch: int
    positions: Any


@attrs.frozen(kw_only=True, eq=False)
class Stream:
    """The parts that make the batches of one stream.

    plan: which records make up a step: those of one batch, or, where the batcher groups by what is
        in the records, those of one window.
    """

    plan: StreamPlan
    batch_size: int
    source: Any
    sampler: Any
    batcher: Any
    stages: Stages

    def load(self, step: Step, before: Mapping[str, int], inside: int = 0) -> Iterator[Loaded]:
        """Yield what a planned step is made of, read, grouped and moved to the device.

        before: the scheduler's state ahead of the step.
        inside: batches of its window to leave out, since they were handed out before.
        """
        records = self._fetch(step.indices)
        epoch, position = divmod(step.start, self.plan.records_per_epoch)
        if is_windowed(self.batcher):
            for made, batch, positions in self._window(step, before, records, inside):
                yield Loaded(
                    step=made,
                    batch=to_device(batch),
                    epoch=epoch,
                    positions=np.asarray(position + positions, np.uint32),
                )
        else:
            batch = to_device(_collate(self.batcher, records, self.batch_size))
            yield Loaded(step=step, batch=batch, epoch=epoch, positions=np.uint32(position))

    def finish(self, loaded: Loaded) -> Step:
        """Return the step with its batch, all stages applied."""
        batch = self.stages(loaded.batch, loaded.epoch, loaded.positions)
        return attrs.evolve(loaded.step, batch=batch)

    def _fetch(self, indices: Any) -> dict[str, Any]:
        numbers = indices.reshape(-1)  # a sampler of windows gives a row for each element
        records: dict[str, Any] = self.source.fetch(numbers)
        count = specs.count_records(records)
        if count != len(numbers):
            raise DataError(f"the source gave {count} records; {len(numbers)} were asked for")
        if indices.ndim > 1:
            records = jax.tree.map(
                lambda leaf: leaf.reshape(*indices.shape, *leaf.shape[1:]), records
            )
        return records

    def _window(
        self, step: Step, before: Mapping[str, int], records: dict[str, Any], inside: int
    ) -> Iterator[tuple[Step, dict[str, Any], Any]]:
        """Yield (step, batch, position in the window of each row's record) of a window."""
        done = step.sample - len(step.indices) if step.stream == TRAIN else step.sample
        made = self.batcher.collate_window(records, batch_size=self.batch_size)
        number, following = 0, next(made, None)
        while following is not None:
            (batch, rows), following = following, next(made, None)
            rows = np.asarray(rows, np.int64)
            if step.stream == TRAIN:
                done += len(rows)
            if number >= inside:
                ends = following is None
                part = attrs.evolve(
                    step,
                    sample=done,
                    indices=step.indices[rows],
                    first=step.first and number == 0,
                    last=step.last and ends,
                    after=step.after if ends else {**before, INSIDE: number + 1},
                )
                yield part, batch, _row_positions(rows, batch, number)
            number += 1
        if number <= inside:
            raise StateError(
                f"the state stands after batch {inside} of a window of stream {step.stream!r} "
                f"that has {number}; the data or the batcher is another"
            )

    def batch_spec(self) -> dict[str, Any]:
        """Return the spec of its batches, after all stages."""
        element, size = self.source.element_spec(), self.batch_size
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


def is_windowed(batcher: Any) -> bool:
    """Return whether a batcher groups by what is in the records, a window of them at a time."""
    return hasattr(batcher, "collate_window")


def _row_positions(rows: Any, batch: dict[str, Any], number: int) -> Any:
    """Return a position for each row of a window's batch, for the keys of stochastic stages.

    It is that of the row's record. Where rows are made of several records, or of parts, it is the
    number of the row among all rows of the window.
    """
    mask = np.asarray(batch[specs.VALID_MASK])
    own = np.arange(len(mask)) + number * len(mask)
    if len(rows) == np.count_nonzero(mask):
        own[mask] = rows
    return own


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
            f"a pipeline's batcher makes 1 batch of up to batch_size records, or works in windows "
            f"(collate_window)"
        )
    made: dict[str, Any] = batches[0]
    return made
