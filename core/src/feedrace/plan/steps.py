"""Which records make up a batch: a pure function of the sampler and the batch's number."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.config.fields import MAX_INT, integer
from feedrace.errors import ConfigError, DataError, Problem, StateError, clipped
from feedrace.protocols import Epochal, Windowed, provides

TRAIN = "train"
_FIRST_BLOCK, _LAST_BLOCK = 65536, 262144


def _shapes(batch: Any) -> str:
    """Return a batch in a few words: the names, dtypes and shapes of its fields."""
    if not isinstance(batch, Mapping):
        return "None" if batch is None else type(batch).__name__
    fields = [
        f"{name}: {field.dtype}{list(field.shape)}" if hasattr(field, "shape") else str(name)
        for name, field in batch.items()
    ]
    return "{" + ", ".join(fields) + "}"


@attrs.define(kw_only=True, eq=False)  # not frozen: that takes half of the time a step costs
class Step:
    """Where one batch stands in a run, and the batch itself once it is read.

    stream: "train" or a callback's name.
    epoch, update, sample: training epochs, updates and records completed before this step; for a
        train step, the epoch it lies in and the updates and records with it included.
    indices: int64 record numbers of the batch, without padding.
    start: absolute position, in its stream, of the first of them.
    first, last: whether it opens or closes an epoch (train) or one evaluation (callbacks).
    after: the scheduler's state once this step is done.
    batch: dict of arrays with leading axis `batch_size`.
    """

    stream: str
    epoch: int
    update: int
    sample: int
    indices: NDArray[np.int64] = attrs.field(repr=lambda indices: f"{len(indices)} records")
    start: int
    first: bool
    last: bool
    after: Mapping[str, int]
    batch: Any = attrs.field(default=None, repr=_shapes)

    def _repr_html_(self) -> str:
        from feedrace import notebook

        counts = (f"{name} {getattr(self, name):,}" for name in ("epoch", "update", "sample"))
        about = f"{', '.join(counts)}; {len(self.indices):,} records from position {self.start:,}"
        numbers = notebook.table([(clipped(self.indices.tolist(), 400),)])
        parts = notebook.batch(self.batch), notebook.fold("Record numbers", numbers)
        return notebook.page(f"Step of {self.stream}", about, *parts)

    def with_batch(self, batch: Any) -> "Step":
        """Return this step with a batch; this one holds none, for what only names it later."""
        return Step(
            stream=self.stream,
            epoch=self.epoch,
            update=self.update,
            sample=self.sample,
            indices=self.indices,
            start=self.start,
            first=self.first,
            last=self.last,
            after=self.after,
            batch=batch,
        )


@attrs.frozen(kw_only=True)
class StreamPlan:
    """How the records of one stream fall into batches; no batch crosses an epoch's end.

    sampler: a `feedrace.protocols.Sampler`.
    records_per_epoch: positions in one epoch of the sampler.
    epochs: epochs in one pass, None if the sampler is endless.

    Raises `ConfigError` for a batch size below 1, or one that leaves no batch; `DataError` if
    there are no records.
    """

    name: str
    sampler: Any
    batch_size: int = attrs.field(validator=integer(1))
    drop_remainder: bool
    records_per_epoch: int
    epochs: int | None

    def __attrs_post_init__(self) -> None:
        if self.records_per_epoch < 1:
            raise DataError(f"stream {self.name!r} has no records; every stream needs at least 1")
        if self.batches_per_epoch < 1:
            message = (
                f"{self.batch_size} leaves no batch of the {self.records_per_epoch} records of "
                f"stream {self.name!r} while drop_remainder is true"
            )
            raise ConfigError([Problem("batch_size", message)])

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one epoch."""
        return -(-self.samples_per_epoch // self.batch_size)

    @property
    def batches_per_pass(self) -> int | None:
        """Number of batches in one pass, None if it is endless."""
        return None if self.epochs is None else self.epochs * self.batches_per_epoch

    @property
    def least_batches_per_epoch(self) -> int:
        """The same number: a plan of windows knows the least alone."""
        return self.batches_per_epoch

    @property
    def least_batches_per_pass(self) -> int | None:
        """Number of batches in one pass, None if it is endless."""
        return self.batches_per_pass

    @property
    def samples_per_epoch(self) -> int:
        """Number of records served in one epoch; fewer than all if the remainder is dropped."""
        records = self.records_per_epoch
        return records - records % self.batch_size if self.drop_remainder else records

    def positions(self, batch: int) -> tuple[int, int]:
        """Return the absolute positions [start, stop) of batch `batch`, counted from 0."""
        epoch, within = divmod(batch, self.batches_per_epoch)
        base, offset = epoch * self.records_per_epoch, within * self.batch_size
        return base + offset, base + min(offset + self.batch_size, self.records_per_epoch)

    def samples(self, batches: int) -> int:
        """Return the number of records in the first `batches` batches."""
        epochs, within = divmod(batches, self.batches_per_epoch)
        return epochs * self.samples_per_epoch + within * self.batch_size

    def whole_epochs(self, batches: int) -> int:
        """Return the number of epochs that the first `batches` batches end."""
        return batches // self.batches_per_epoch

    def ends_epoch(self, start: int) -> bool:
        """Return whether the batch that begins at absolute position `start` is its epoch's last."""
        within = start % self.records_per_epoch // self.batch_size
        return within == self.batches_per_epoch - 1

    def batches(
        self, first: int, last: int | None = None
    ) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Yield (number, absolute start, int64 record numbers) of batches [first, last).

        The sampler computes a block of positions a call, since many cost little more than few; the
        first block is smaller, so that the first batch comes soon. Endless if `last` is None.
        """
        block_size = _FIRST_BLOCK
        windowed = provides(self.sampler, Windowed)
        width = math.prod(self.sampler.index_spec().shape) if windowed else 1  # records an element
        while last is None or first < last:
            per_block = max(1, block_size // (self.batch_size * width))
            block_size = _LAST_BLOCK
            stop = (first // self.batches_per_epoch + 1) * self.batches_per_epoch
            stop = min(stop, first + per_block, stop if last is None else last)
            base, end = self.positions(first)[0], self.positions(stop - 1)[1]
            if end > MAX_INT:
                raise StateError(f"position {end} of stream {self.name!r} is beyond {MAX_INT}")
            block = np.asarray(self.sampler.indices(base, end), dtype=np.int64)
            if block.shape[:1] != (end - base,):
                raise DataError(
                    f"{type(self.sampler).__name__} of stream {self.name!r} gave indices of shape "
                    f"{block.shape} for {end - base} positions; give one index for each"
                )
            for number in range(first, stop):
                offset = (number - first) * self.batch_size
                yield number, base + offset, block[offset : offset + self.batch_size]
            first = stop

    def pass_batches(
        self, number: int, first: int = 0
    ) -> Iterator[tuple[int, int, NDArray[np.int64], bool]]:
        """Yield (number, absolute start, record numbers, is last) of the batches of a pass.

        number: of the pass. first: the batch to begin with; they are counted in the pass.

        Raises `DataError` if the stream is endless.
        """
        count = self.batches_per_pass
        if count is None:
            raise DataError(f"stream {self.name!r} is endless; it has no passes")
        base = number * count
        for absolute, start, indices in self.batches(base + first, base + count):
            yield absolute - base, start, indices, absolute == base + count - 1

    def train_steps(
        self, first: int, last: int | None, after: Callable[[int], Mapping[str, int]]
    ) -> Iterator[Step]:
        """Yield the steps that make updates [first, last) of a train stream.

        after: returns the scheduler's state after a number of updates.
        """
        per_epoch, sample = self.batches_per_epoch, self.samples(first)
        for update, start, indices in self.batches(first, last):
            epoch, within = divmod(update, per_epoch)
            sample += len(indices)
            yield Step(
                stream=self.name,
                epoch=epoch,
                update=update + 1,
                sample=sample,
                indices=indices,
                start=start,
                first=within == 0,
                last=within == per_epoch - 1,
                after=after(update + 1),
            )


def plan_stream(name: str, sampler: Any, *, batch_size: int, drop_remainder: bool) -> StreamPlan:
    """Return the plan of a stream whose records `sampler` orders.

    An epoch is the sampler's `records_per_epoch` if it has one, else its whole length.

    Raises `DataError` for a sampler without records, and for one whose length is not whole epochs.
    """
    try:
        length: int | None = len(sampler)
    except TypeError:  # raised by an endless sampler
        length = None
    except OverflowError as error:
        raise DataError(f"the length of the sampler of stream {name!r}: {error}") from error
    per_epoch = sampler.records_per_epoch if provides(sampler, Epochal) else None
    per_epoch = length if per_epoch is None else per_epoch
    if per_epoch is None:
        raise DataError(
            f"the sampler of stream {name!r} has neither a length nor records_per_epoch; "
            f"an endless sampler needs records_per_epoch"
        )
    if length and per_epoch and length % per_epoch:
        fewer, more = length - length % per_epoch, length + -length % per_epoch
        raise DataError(
            f"the sampler of stream {name!r} has len {length} and records_per_epoch {per_epoch}, "
            f"but a pass is whole epochs; make its len {f'{fewer} or ' if fewer else ''}{more}, or "
            f"records_per_epoch {length}"
        )
    return StreamPlan(
        name=name,
        sampler=sampler,
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        records_per_epoch=0 if length == 0 else per_epoch,
        epochs=None if length is None else length // max(per_epoch, 1),
    )
