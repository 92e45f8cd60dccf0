"""One sampler for training and callbacks together, for programs built on torch's `DataLoader`."""

import itertools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    TRAIN,
    ConfigError,
    Configured,
    DataError,
    Problem,
    StateError,
    Step,
    StreamPlan,
    clipped,
    protocols,
)
from feedrace_interleave import schedule
from feedrace_interleave.config import InterleavedSamplerConfig, SamplerIntervalConfig
from feedrace_interleave.dataset import InterleavedCollator, InterleavedDataset

_STARTS = ("start_epoch", "start_update", "start_sample")


class InterleavedSampler(Configured):
    """Yields (is_full_batch, index) pairs of training, interrupted by the callback samplers.

    Indices of the train sampler come first in a common numbering, then those of each callback
    sampler, moved by `index_offsets`. `is_full_batch` is True on the last index of each batch.

    train_sampler: any sized iterable of ints. `set_epoch(epoch)` is called if it has one;
        one with `indices(start, stop)`, as Feedrace's, starts anywhere in O(1). Indices point into
        its `data_source` or `dataset`, as torch's samplers have one; for one of Feedrace's, assign
        `sampler.data_source = dataset`.
    train_collator: collates the samples of the train dataset; None for torch's default.
    callback_samplers: what interrupts training, in the order in which they run.

    Each iteration begins at the config's start, the next one after `set_state` at that state.
    A start is the tail of the uninterrupted run, but for `start_epoch` with `drop_last`, which
    follows the interface's reference: beyond the end it makes one update; an interval of samples
    that passed before the start counts at the first update; and if `batch_size` exceeds the
    train sampler, updates and samples count from the start.

    Raises `ConfigError` for an empty sampler and for any other start beyond the end.
    """

    def __init__(
        self,
        train_sampler: Any,
        config: InterleavedSamplerConfig,
        train_collator: Callable[[list[Any]], Any] | None = None,
        callback_samplers: Sequence[SamplerIntervalConfig] | None = None,
    ) -> None:
        self.config = config
        self.main_sampler = train_sampler
        self.extra_samplers = list(callback_samplers or [])
        samplers = [train_sampler, *(callback.sampler for callback in self.extra_samplers)]
        sources = [_data_source(sampler) for sampler in samplers]
        self.index_offsets = np.cumsum([len(s) for s in sources[:-1]]).tolist()
        self.dataset = InterleavedDataset(sources)
        self.collator = InterleavedCollator(
            [train_collator, *(callback.pipeline for callback in self.extra_samplers)]
        )
        self.batch_size = config.batch_size
        if config.drop_last:
            self.batch_size = min(config.batch_size, max(1, _epoch_length(train_sampler)))
        self.batch_sampler = _BatchSampler(self)
        self._train = _plan(
            TRAIN, train_sampler, self.batch_size, config.drop_last, "train_sampler"
        )
        _, self._first, _ = self._start()
        self._uncounted = (
            self._first - self.calculate_start(config, _epoch_length(train_sampler))[1]
        )
        self._evaluations = [
            self._evaluation(i, callback) for i, callback in enumerate(self.extra_samplers)
        ]
        self._end = self._last_update()
        self._rows: Iterator[int] = iter(())
        self._row_count = 0
        self._before: dict[str, int] = {}
        self._after: dict[str, int] = {}
        self._state = self._before = self._after = self._start_state()

    @staticmethod
    def calculate_start(config: InterleavedSamplerConfig, sampler_len: int) -> tuple[int, int, int]:
        """Return (epoch, update, sample) at which the config starts.

        sampler_len: records in one epoch of the train sampler.
        """
        if config.drop_last and config.batch_size > sampler_len and config.start_epoch is not None:
            return config.start_epoch, 0, 0
        size = min(config.batch_size, sampler_len) if config.drop_last else config.batch_size
        return _start(_plan(TRAIN, range(sampler_len), size, config.drop_last, ""), config)

    def _start(self) -> tuple[int, int, int]:
        return _start(self._train, self.config)

    def _evaluation(self, number: int, callback: SamplerIntervalConfig) -> schedule.Evaluation:
        path = f"callback_samplers[{number}]"
        size = callback.batch_size or self.batch_size
        length = _epoch_length(callback.sampler)
        epochs = len(callback.sampler) // max(length, 1)
        plan = _plan(f"callback {number}", callback.sampler, size, False, path, epochs=epochs)
        made = schedule.evaluation_of(plan, callback, path)
        if self.config.start_epoch is None or not self.config.drop_last:
            return made
        return _StartedEvaluation(
            plan=plan,
            every=made.every,
            unit=made.unit,
            uncounted=self._uncounted,
            first=self._first,
        )

    def __iter__(self) -> Iterator[tuple[bool, int]]:
        # The zips inside run at C speed; how much is left of the rows gives the position.
        return itertools.chain.from_iterable(self._pairs())

    def _pairs(self) -> Iterator[Iterable[tuple[bool, int]]]:
        state, self._state = self._state, self._start_state()
        offsets = dict(
            zip([e.plan.name for e in self._evaluations], self.index_offsets, strict=True)
        )
        listens = protocols.provides(self.main_sampler, protocols.EpochListener)
        taken = state.get("taken", 0)
        self._before = {key: value for key, value in state.items() if key != "taken"}
        for step in self._steps(self._before):
            rows = (step.indices + offsets.get(step.stream, 0)).tolist()
            if taken >= len(rows):
                raise StateError(
                    f"taken is {taken} in the state, of a batch of {len(rows)} indices"
                )
            flags = itertools.chain(itertools.repeat(False, len(rows) - 1 - taken), (True,))
            self._rows, self._row_count = iter(rows[taken:]), len(rows)
            self._after, taken = dict(step.after), 0
            yield zip(flags, self._rows, strict=False)
            self._before = self._after
            self._row_count = 0
            if listens and step.stream == TRAIN and self._train.ends_epoch(step.start):
                self.main_sampler.epoch_completed(step.start // self._train.records_per_epoch)

    def _steps(self, state: dict[str, int]) -> Iterator[Step]:
        update = state["update"]
        if self._end is None:
            for i, evaluation in enumerate(self._evaluations):
                if i >= state.get("callback", 0):
                    batch = state.get("batch", 0) if i == state.get("callback") else 0
                    yield from schedule.evaluate(self._train, evaluation, i, 0, update, batch)
            return
        yield from schedule.run(
            self._train,
            self._evaluations,
            number=0,
            end=self._end,
            update=update,
            callback=state.get("callback", 0),
            batch=state.get("batch", 0),
            pending="pass" in state,
        )

    def get_state(self) -> dict[str, Any]:
        """Return the position of the last iteration in ints, and under "config" what it is of.

        Batches that workers of a `DataLoader` fetched ahead count as handed out.
        """
        left = operator.length_hint(self._rows)
        taken = self._row_count - left if self._row_count else 0
        place = self._after if self._row_count and not left else self._before
        between = {"taken": taken} if taken and left else {}
        return {**place, **between, "config": self._described()}

    def _described(self) -> dict[str, Any]:
        """Return, for JSON, what must be equal for a state to fit."""
        plans = [(e.plan, e.every, e.unit) for e in self._evaluations]
        every = [[p.records_per_epoch, n, unit, p.batch_size] for p, n, unit in plans]
        found = {"train_sampler": self._train.records_per_epoch, "callback_samplers": every}
        text = json.dumps({**attrs.asdict(self.config), **found}, default=int)  # numpy's ints
        return dict(json.loads(text))

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `state` in the next iteration.

        Raises `TypeError` for anything but a dict, `StateError` for a state that is not in the
        schedule, or of a sampler with another config.
        """
        if not isinstance(state, dict):
            raise TypeError(f"a state is a dict, not {type(state).__name__}")
        saved, here = state.get("config"), self._described()
        if not isinstance(saved, dict):
            raise StateError("the state has no config; it is not one of an interleaved sampler")
        if saved != here:
            pairs = [(key, saved.get(key), new) for key, new in here.items()]
            shown = [f"{key}: {old} -> {new}" for key, old, new in pairs if old != new]
            differs = f"this differs (saved -> here): {'; '.join(shown)}"
            raise StateError(f"the state is of a sampler with another config; {differs}")
        state = {key: value for key, value in state.items() if key != "config"}
        known = {"pass", "update", "callback", "batch", "taken"}
        good = state.keys() <= known and "update" in state
        good = good and all(type(v) is int and v >= 0 for v in state.values())
        if not good:
            raise StateError(f"{clipped(state)} is not a state of an interleaved sampler")
        place = {"pass": 0, **{key: v for key, v in state.items() if key != "taken"}}
        if self._end is not None:
            schedule.check_place(place, self._train, self._evaluations, 0, self._end)
        else:
            good = state["update"] == 0
            if "callback" in state:
                running = self._evaluations[state["callback"] : state["callback"] + 1]
                good = good and any(state.get("batch", 0) <= e.batches() for e in running)
            if not good:
                raise StateError(f"{clipped(state)} is not a state in an evaluation")
        sizes = [self._train.batch_size, *(e.plan.batch_size for e in self._evaluations)]
        if state.get("taken", 0) >= max(sizes):
            raise StateError(
                f"{clipped(state)} is beyond the end of a batch of {max(sizes)} indices"
            )
        self._state = dict(state)
        self._before = self._after = self._state
        self._row_count = 0

    def get_data_loader(self, num_workers: int = 0, pin_memory: bool = False) -> Any:
        """Return a `torch.utils.data.DataLoader` over the batches of one iteration."""
        from torch.utils.data import DataLoader

        return DataLoader(
            self.dataset,
            batch_sampler=self.batch_sampler,
            collate_fn=self.collator,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )

    def _start_state(self) -> dict[str, int]:
        if self._end is None:
            return {"update": 0}  # only the callbacks run, whole
        _, update, sample = self._start()
        taken = sample - self._train.samples(update)
        return {"update": update, "taken": taken} if taken else {"update": update}

    def _last_update(self) -> int | None:
        """Return the update at which training ends, or None if only callbacks run."""
        config = self.config
        limits = (config.max_epochs, config.max_updates, config.max_samples)
        if config.evaluation or 0 in limits:
            return None
        epochs, updates, samples = limits
        end = schedule.last_update(
            self._train,
            epochs,
            None if updates is None else updates + self._uncounted,
            None if samples is None else samples + self._train.samples(self._uncounted),
        )
        if end is not None and self._first >= end:
            if config.start_epoch is None or not config.drop_last:
                field = next(f for f in _STARTS if getattr(config, f) is not None)
                message = f"{getattr(config, field)} is not before the end, which is update {end}"
                raise ConfigError([Problem(field, message)])
            return self._first + 1
        return end


@attrs.frozen(eq=False, kw_only=True)
class _StartedEvaluation(schedule.Evaluation):
    """An evaluation after a start at an epoch, counted as the interface's reference counts.

    uncounted: updates before the start that do not count. first: the update to start after.
    """

    uncounted: int
    first: int

    def intervals(self, train: schedule.Plan, update: int) -> int:
        if self.unit == "epochs":
            return super().intervals(train, update)
        if self.unit == "updates":
            return (update - self.uncounted) // self.every
        return (train.samples(update) - train.samples(self.uncounted)) // self.every

    def is_due(self, train: schedule.Plan, update: int, end: int | None) -> bool:
        if self.unit == "samples" and update == self.first + 1:
            return self.intervals(train, update) > 0
        return super().is_due(train, update, end)

    def next_due(self, train: StreamPlan, update: int) -> int:
        if update == self.first and self.is_due(train, update + 1, None):
            return update + 1
        return super().next_due(train, update)


class _BatchSampler:
    """The indices of an interleaved sampler, a list for each batch."""

    def __init__(self, sampler: InterleavedSampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        batch = []
        for is_full_batch, index in self._sampler:
            batch.append(index)
            if is_full_batch:
                yield batch
                batch = []


class _IteratedOrder:
    """Gives a sized iterable the `indices(start, stop)` of Feedrace's samplers.

    A call that starts where the last one ended continues its iteration; any other begins a new one
    and skips what comes before.
    """

    def __init__(self, sampler: Any, *, set_epoch: bool) -> None:
        self._sampler = sampler
        self._set_epoch = set_epoch and hasattr(sampler, "set_epoch")  # as torch's have
        self._length = len(sampler)
        self._iterator: Iterator[Any] = iter(())
        self._next = -1

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        epoch, offset = divmod(start, self._length)
        if start != self._next or offset == 0:
            if self._set_epoch:
                self._sampler.set_epoch(epoch)
            self._iterator = itertools.islice(iter(self._sampler), offset, None)
        got = np.fromiter(itertools.islice(self._iterator, stop - start), np.int64)
        if len(got) != stop - start:
            raise DataError(
                f"{type(self._sampler).__name__} ended after {offset + len(got)} indices of the "
                f"{self._length} that its len promises"
            )
        self._next = stop
        return got


def _start(plan: StreamPlan, config: InterleavedSamplerConfig) -> tuple[int, int, int]:
    """Return (epoch, update, sample) at which the config starts."""
    if config.start_sample is not None:
        epoch, rest = divmod(config.start_sample, plan.samples_per_epoch)
        update = epoch * plan.batches_per_epoch + rest // plan.batch_size
        return epoch, update, config.start_sample
    update = config.start_update or 0
    if config.start_epoch is not None:
        update = config.start_epoch * plan.batches_per_epoch
    return update // plan.batches_per_epoch, update, plan.samples(update)


def _plan(
    name: str, sampler: Any, batch_size: int, drop: bool, path: str, epochs: int | None = None
) -> StreamPlan:
    length = _epoch_length(sampler)
    if length < 1:
        raise ConfigError([Problem(path, "is empty; a sampler needs at least 1 index")])
    order = (
        sampler
        if protocols.provides(sampler, protocols.Sampler)
        else _IteratedOrder(sampler, set_epoch=name == TRAIN)
    )
    return StreamPlan(
        name=name,
        sampler=order,
        batch_size=batch_size,
        drop_remainder=drop,
        records_per_epoch=length,
        epochs=epochs,
    )


def _epoch_length(sampler: Any) -> int:
    return (
        int(sampler.records_per_epoch)
        if protocols.provides(sampler, protocols.Epochal)
        else len(sampler)
    )


def _data_source(sampler: Any) -> Any:
    """Return what the sampler's indices point into; a range of them if it names nothing."""
    for name in ("data_source", "dataset"):
        source = getattr(sampler, name, None)
        if source is not None:
            return source
    config: Any = getattr(sampler, "config", object())
    if hasattr(config, "sizes"):
        return range(sum(config.sizes))
    records = getattr(config, "num_records", None)
    if records is not None:
        return range(records)
    if getattr(sampler, "weights", None) is not None:  # torch's weighted sampler
        return range(len(sampler.weights))
    if isinstance(sampler, Sequence) and len(sampler):
        return range(max(sampler) + 1)
    return range(_epoch_length(sampler))
