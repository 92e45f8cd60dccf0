"""One stream of a pipeline: from a planned step to its batches."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import jax
import numpy as np

from feedrace.builtin.config import SequentialSamplerConfig
from feedrace.builtin.sequential import SequentialSamplerModule
from feedrace.device import specs
from feedrace.device.loader import DevicePath, holds_records
from feedrace.device.placement import Placement
from feedrace.device.stages import Stages
from feedrace.errors import DataError, StateError
from feedrace.host.records import VALID_MASK, count_records, is_host_dtype, pad_batch, split_records
from feedrace.host.timing import Clock
from feedrace.plan.steps import TRAIN, Step, StreamPlan

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


@attrs.frozen(kw_only=True, eq=False, slots=False)  # slots leave no room for a cached property
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
    placement: Placement

    @property
    def by_rows(self) -> bool:
        """Whether row i of a batch is its record i alone."""
        return is_row_wise(self.batcher)

    @property
    def made_on_device(self) -> bool:
        """Whether iterating makes its batches on the device, from records that are there."""
        return not self.placement.is_global and self.device_path is not None

    @functools.cached_property
    def device_path(self) -> DevicePath | None:
        """What makes its batches on the device, where its records are there."""
        fits = self.by_rows and not self.stages.on_host
        return DevicePath(self) if fits and holds_records(self.source) else None

    def load(
        self, step: Step, before: Mapping[str, int], inside: int, clock: Clock
    ) -> Iterator[Loaded]:
        """Yield what a planned step is made of, read, grouped and moved to the device.

        Of a batch for several hosts, only this one's rows are read, where the batcher allows it.

        before: the scheduler's state ahead of the step.
        inside: batches of its window to leave out, since they were handed out before.
        """
        epoch, position = divmod(step.start, self.plan.records_per_epoch)
        rows = self.placement.rows(self.batch_size)
        positions: Any = np.uint32(position)
        if rows is not None and self.by_rows:
            batch = self._own_rows(step.indices, rows, clock)
            batch = self._placed(batch, epoch, np.uint32(position + rows), rows, clock)
            yield Loaded(step=step, batch=batch, epoch=epoch, positions=positions)
            return
        records = self._fetch(step.indices, clock)
        good = self._good(step.indices)
        if good is not None and not self.by_rows:
            records = jax.tree.map(lambda leaf: leaf[good], records)
        if is_windowed(self.batcher):
            parts = self._window(step, before, records, inside, good)
        else:
            whole = _collate(self.batcher, records, self.batch_size)
            if good is not None and self.by_rows:
                whole = _masked(whole, good)
            parts = iter([(step, whole, None)])
        for part, made, within in parts:
            batch = made
            if within is not None:
                positions = np.asarray(position + within, np.uint32)
            if rows is not None:
                batch = jax.tree.map(lambda leaf: leaf[rows], made)
            own = positions if rows is None else _of_rows(positions, rows)
            batch = self._placed(batch, epoch, own, rows, clock)
            yield Loaded(step=part, batch=batch, epoch=epoch, positions=positions)
            clock.enter("batch")

    def finish(self, loaded: Loaded, clock: Clock) -> Step:
        """Return the step with its batch, all stages applied."""
        clock.enter("stages")
        loaded.step.batch = self.stages(loaded.batch, loaded.epoch, loaded.positions)
        return loaded.step

    def _own_rows(self, indices: Any, rows: Any, clock: Clock) -> dict[str, Any]:
        """Return this process's rows of a batch: those `rows` that are not padding, and padding."""
        mine = rows[rows < len(indices)]
        # Where all of them are padding, one record tells what padding looks like.
        records = self._fetch(indices[mine] if len(mine) else indices[:1], clock)
        batch = _collate(self.batcher, records, len(rows))
        good = self._good(indices[mine])
        if good is not None:
            batch = _masked(batch, good)
        if not len(mine):
            batch = jax.tree.map(_blank, batch)
        return batch

    def _placed(
        self, batch: dict[str, Any], epoch: int, positions: Any, rows: Any, clock: Clock
    ) -> dict[str, Any]:
        if self.stages.on_host:
            clock.enter("host stages")
            batch = self.stages.host(batch, epoch, positions)
        clock.enter("transfer")
        return self.placement.place(batch, rows, self.batch_size)

    def _fetch(self, indices: Any, clock: Clock) -> dict[str, Any]:
        clock.enter("source")
        numbers = indices.reshape(-1)  # a sampler of windows gives a row for each element
        records: dict[str, Any] = self.source.fetch(numbers)
        clock.enter("batch")
        count = count_records(records)
        if count != len(numbers):
            raise DataError(f"the source gave {count} records; {len(numbers)} were asked for")
        if indices.ndim > 1:
            records = jax.tree.map(
                lambda leaf: leaf.reshape(*indices.shape, *leaf.shape[1:]), records
            )
        return records

    def _good(self, indices: Any) -> Any:
        """Return which elements hold no record that the source left out; None where all do."""
        left_out = getattr(self.source, "left_out", None)
        if left_out is None:
            return None
        out = np.reshape(left_out(indices.reshape(-1)), indices.shape)
        good = ~out.any(axis=tuple(range(1, out.ndim)))
        return None if good.all() else good

    def _window(
        self,
        step: Step,
        before: Mapping[str, int],
        records: dict[str, Any],
        inside: int,
        good: Any,
    ) -> Iterator[tuple[Step, dict[str, Any], Any]]:
        """Yield (step, batch, positions of its rows beyond the window's first) of a window."""
        done = step.sample - len(step.indices) if step.stream == TRAIN else step.sample
        kept = np.arange(len(step.indices)) if good is None else np.flatnonzero(good)
        made = self._collated(step, records, kept)
        number, following = 0, next(made, None)
        while following is not None:
            (batch, rows, *keys), following = following, next(made, None)
            rows = np.asarray(rows, np.int64)
            own = rows
            rows = kept[rows]
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
                count = len(kept)
                numbers = keys[0] if keys else _row_keys(own, batch, number, count)
                again, within = np.divmod(np.asarray(numbers, np.int64), count)
                within = kept[within]
                # Beyond the records of the epoch, as many times as a row is not a record's first.
                yield part, batch, within + again * self.plan.records_per_epoch
            number += 1
        if number <= inside:
            raise StateError(
                f"the state stands after batch {inside} of a window of stream {step.stream!r} "
                f"that has {number}; the data or the batcher is another"
            )

    def _collated(self, step: Step, records: dict[str, Any], kept: Any) -> Iterator[Any]:
        """Yield what the batcher makes of a window, telling which record it cannot take."""
        try:
            yield from self.batcher.collate_window(records, batch_size=self.batch_size)
        except DataError as error:
            row = getattr(error, "row", None)
            if row is not None:
                real = step.indices[kept[row]]
                error.add_note(f"record {row} of the window is record {real}")
            raise

    def batch_specs(self) -> tuple[dict[str, Any], ...]:
        """Return the specs of all shapes of its batches, after all stages, the largest last."""
        return tuple(map(self.stages.spec, self.batcher_specs()))

    def batcher_specs(self) -> tuple[dict[str, Any], ...]:
        """Return the specs of what the batcher makes; raises `DataError` where it cannot."""
        element, size = self.source.element_spec(), self.batch_size
        if hasattr(self.sampler, "index_spec"):
            window = self.sampler.index_spec().shape
            element = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((*window, *leaf.shape), leaf.dtype), element
            )
        if self.batcher is None:
            return (specs.batch_spec(element, batch_size=size),)
        if hasattr(self.batcher, "batch_specs"):
            return tuple(self.batcher.batch_specs(element, batch_size=size))
        return (self.batcher.batch_spec(element, batch_size=size),)


def own_order(source: Any) -> Any:
    """Return the source itself where it orders its records, else their stored order."""
    if hasattr(source, "indices"):
        return source
    return SequentialSamplerModule(SequentialSamplerConfig(num_records=len(source)))


def is_row_wise(batcher: Any) -> bool:
    """Return whether row i of a batch is record i alone, so that rows can be made by themselves."""
    return batcher is None or bool(getattr(batcher, "row_wise", False))


def is_windowed(batcher: Any) -> bool:
    """Return whether a batcher groups by what is in the records, a window of them at a time."""
    return hasattr(batcher, "collate_window")


def _row_keys(rows: Any, batch: dict[str, Any], number: int, records: int) -> Any:
    """Return numbers for the rows of a window's batch whose batcher gives none.

    It is that of the row's record. Where rows are made of several records, or of parts, it is one
    above those of the `records`, and no other row has it.
    """
    mask = np.asarray(batch[VALID_MASK])
    own = records + number * len(mask) + np.arange(len(mask))
    if len(rows) == np.count_nonzero(mask):
        own[mask] = rows
    return own


def _masked(batch: dict[str, Any], good: Any) -> dict[str, Any]:
    """Return a batch whose first rows are valid only where they are good."""
    mask = np.array(batch[VALID_MASK])
    mask[: len(good)] &= good
    return {**batch, VALID_MASK: mask}


def _blank(leaf: Any) -> Any:
    """Return padding like a leaf: zeros, or None for objects."""
    if is_host_dtype(leaf.dtype):
        return np.full(np.shape(leaf), None, object)
    return jax.tree.map(np.zeros_like, leaf)


def _of_rows(positions: Any, rows: Any) -> Any:
    return positions[rows] if positions.ndim else np.uint32(positions + rows)


def _collate(batcher: Any, records: dict[str, Any], batch_size: int) -> dict[str, Any]:
    if batcher is None:
        return pad_batch(records, batch_size=batch_size)
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
