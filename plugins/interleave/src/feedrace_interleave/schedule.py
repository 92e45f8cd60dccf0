"""When which stream runs: a function of the number of training updates done."""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import ConfigError, Problem, StateError, Step, StreamPlan, clipped
from feedrace_interleave.config import INTERVALS, CallbackConfig, SamplerIntervalConfig


@attrs.frozen(eq=False)
class Evaluation:
    """A stream that runs whole whenever its interval of training has passed.

    every, unit: the interval, such as 2 "epochs", 500 "updates" or 10,000 "samples". One of samples
        has passed when training crosses a multiple of it.
    at_start, at_end: whether it also runs before the first update, and after the last of a pass.
    """

    plan: StreamPlan
    every: int
    unit: str
    at_start: bool = False
    at_end: bool = False

    def intervals(self, train: StreamPlan, update: int) -> int:
        """Return how many intervals have passed after `update` updates."""
        if self.unit == "epochs":
            return update // train.batches_per_epoch // self.every
        if self.unit == "updates":
            return update // self.every
        return train.samples(update) // self.every

    def is_due(self, train: StreamPlan, update: int, end: int | None) -> bool:
        """Return whether it runs after `update` updates, `end` being the last of the pass."""
        if update == 0:
            return self.at_start
        if self.at_end and update == end:
            return True
        return self.intervals(train, update) > self.intervals(train, update - 1)

    def next_due(self, train: StreamPlan, update: int) -> int:
        """Return the first update after `update` at which another interval has passed."""
        passed, reach = self.intervals(train, update), 1
        while self.intervals(train, update + reach) <= passed:
            reach *= 2
        low, high = update, update + reach  # beyond what `bisect` can count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.intervals(train, middle) <= passed else (low, middle)
        return high

    def due_updates(self, train: StreamPlan, start: int, end: int) -> NDArray[np.int64]:
        """Return the updates in (start, end] after which it runs.

        It includes 0 for `at_start`, if the pass starts there.
        """
        if self.unit == "epochs":
            step = min(self.every * train.batches_per_epoch, end + 1)  # which an int64 holds
            due = np.arange(start // step + 1, end // step + 1, dtype=np.int64) * step
        elif self.unit == "updates":
            due = np.arange(start // self.every + 1, end // self.every + 1, dtype=np.int64)
            due *= self.every
        else:
            updates = np.arange(start, end + 1, dtype=np.int64)
            epochs, within = np.divmod(updates, train.batches_per_epoch)
            samples = epochs * train.samples_per_epoch + within * train.batch_size
            due = updates[1:][np.diff(samples // self.every) > 0]
        ends = [end] if self.at_end and (not due.size or due[-1] != end) else []
        starts = [0] if self.at_start and start == 0 else []
        return np.concatenate([np.array(starts, np.int64), due, np.array(ends, np.int64)])

    def batches(self) -> int:
        """Return the number of batches of one run."""
        assert self.plan.batches_per_pass is not None  # `evaluation_of` refuses endless ones
        return self.plan.batches_per_pass


def evaluation_of(
    plan: StreamPlan,
    callback: CallbackConfig | SamplerIntervalConfig,
    path: str,
    *,
    at_start: bool = False,
    at_end: bool = False,
) -> Evaluation:
    """Return the evaluation that a callback's config asks for.

    Raises `ConfigError` if the stream has no end.
    """
    if plan.batches_per_pass is None:
        raise ConfigError([Problem(f"{path}.sampler", "is endless; an evaluation needs an end")])
    name = next(name for name in INTERVALS if getattr(callback, name) is not None)
    return Evaluation(
        plan,
        every=getattr(callback, name),
        unit=name.removeprefix("every_n_"),
        at_start=at_start,
        at_end=at_end,
    )


def run(
    train: StreamPlan,
    evaluations: Sequence[Evaluation],
    *,
    number: int,
    end: int | None,
    update: int,
    callback: int = 0,
    batch: int = 0,
    pending: bool,
) -> Iterator[Step]:
    """Yield training steps up to update `end`, with the evaluations due after each.

    number: of the pass, for the steps' states. update: updates done before.
    pending: whether the evaluations due after `update` are still to run, from batch `batch` of
        evaluation `callback` on.
    """
    if pending:
        yield from _evaluate(train, evaluations, number, end, update, callback, batch)

    def after(done: int) -> dict[str, int]:
        return {"pass": number, "update": done}

    due = min((e.next_due(train, update) for e in evaluations), default=None)
    for step in train.train_steps(update, end, after):
        yield step
        if due is not None and (step.update == due or step.update == end):
            yield from _evaluate(train, evaluations, number, end, step.update, 0, 0)
            due = min(e.next_due(train, step.update) for e in evaluations)


def _evaluate(
    train: StreamPlan,
    evaluations: Sequence[Evaluation],
    number: int,
    end: int | None,
    update: int,
    first: int,
    first_batch: int,
) -> Iterator[Step]:
    for i, evaluation in enumerate(evaluations):
        if i >= first and evaluation.is_due(train, update, end):
            yield from evaluate(
                train, evaluation, i, number, update, first_batch if i == first else 0
            )


def evaluate(
    train: StreamPlan, evaluation: Evaluation, place: int, number: int, update: int, batch: int
) -> Iterator[Step]:
    """Yield the steps of one run of an evaluation after `update`, from batch `batch` on.

    Each run is another pass of the evaluation's sampler, the first of them pass 0; one at the end
    of a pass in which no interval has passed repeats the last.
    """
    count = evaluation.batches()
    runs = evaluation.intervals(train, update)
    base = max(runs - 1 + evaluation.at_start, 0) * count if update else 0
    epoch, sample = update // train.batches_per_epoch, train.samples(update)
    for absolute, start, indices in evaluation.plan.batches(base + batch, base + count):
        within = absolute - base
        yield Step(
            stream=evaluation.plan.name,
            epoch=epoch,
            update=update,
            sample=sample,
            indices=indices,
            start=start,
            first=within == 0,
            last=within == count - 1,
            after={"pass": number, "update": update, "callback": place, "batch": within + 1},
        )


def check_place(
    state: Mapping[str, int],
    train: StreamPlan,
    evaluations: Sequence[Evaluation],
    start: int,
    end: int,
) -> None:
    """Raise `StateError` if no step of the schedule from `start` to `end` leads to `state`."""
    keys = set(state)
    good = keys in ({"pass"}, {"pass", "update"}, {"pass", "update", "callback", "batch"})
    good = good and start <= state.get("update", start) <= end
    if good and "callback" in state:
        good = state["callback"] < len(evaluations)
        if good:
            evaluation = evaluations[state["callback"]]
            good = state["batch"] <= evaluation.batches()
            good = good and evaluation.is_due(train, state["update"], end)
    if not good:
        raise StateError(
            f"{clipped(dict(state))} is not a state of a schedule of {end - start} updates a pass"
        )


def last_update(
    train: StreamPlan, epochs: int | None, updates: int | None, samples: int | None
) -> int | None:
    """Return the update that reaches the first of these limits, or None without any."""
    limits = []
    if epochs is not None:
        limits.append(epochs * train.batches_per_epoch)
    if updates is not None:
        limits.append(updates)
    if samples is not None:
        whole, rest = divmod(samples, train.samples_per_epoch)
        limits.append(whole * train.batches_per_epoch + -(-rest // train.batch_size))
    return min(limits) if limits else None


def timeline(
    train: StreamPlan, evaluations: Sequence[Evaluation], end: int, width: int = 60
) -> list[str]:
    """Return lines that draw the first pass: a row for each stream, and its totals."""
    name_width = max(len(plan.name) for plan in [train, *(e.plan for e in evaluations)])
    bar = "=" * width
    records = train.samples(end)
    lines = [f"{train.name:<{name_width}} |{bar}| {end:,} batches, {records:,} records"]
    for evaluation in evaluations:
        due = evaluation.due_updates(train, 0, end)
        marks = [" "] * width
        for column in set((due * width // max(end, 1)).clip(max=width - 1).tolist()):
            marks[column] = "*"
        each = evaluation.batches()
        shown = [f"{u:,}" for u in due[:3]] + (["..."] if len(due) > 4 else [])
        shown += [f"{u:,}" for u in due[3:][-1:]]
        lines.append(
            f"{evaluation.plan.name:<{name_width}} |{''.join(marks)}| {len(due):,} x {each:,} = "
            f"{len(due) * each:,} batches, one run every {evaluation.every:,} {evaluation.unit}: "
            f"after update {', '.join(shown) or 'none'}"
        )
    return lines
