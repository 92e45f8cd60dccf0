"""When which stream runs: a function of the number of training updates done."""

from collections.abc import Iterator, Mapping, Sequence

import attrs

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
        return self._reaching(train, passed + 1, update, update + reach)

    def _reaching(self, train: StreamPlan, intervals: int, low: int, high: int) -> int:
        """Return the first update in (low, high] after which so many intervals have passed."""
        while high - low > 1:  # beyond what `bisect` can count
            middle = (low + high) // 2
            low, high = (
                (middle, high) if self.intervals(train, middle) < intervals else (low, middle)
            )
        return high

    def last_due(self, train: StreamPlan, end: int) -> int | None:
        """Return the last update up to `end`, the end of the pass, after which it runs, if any."""
        if self.at_end:
            return end
        passed = self.intervals(train, end)
        if not passed:
            return 0 if self.at_start else None
        return self._reaching(train, passed, 0, end)

    def runs(self, train: StreamPlan, end: int) -> int:
        """Return how often it runs in a pass of `end` updates, without going through them."""
        passed = self.intervals(train, end)
        size, length = train.batch_size, train.samples_per_epoch
        short = length - (train.batches_per_epoch - 1) * size  # the last batch of an epoch
        if self.unit == "samples" and self.every < size:  # each batch of this size passes some
            epochs = end // train.batches_per_epoch if short < self.every else 0
            crossing = _floor_sum(epochs, self.every, length, length) - _floor_sum(
                epochs, self.every, length, length - short
            )
            passed = end - epochs + crossing
        last = self.at_end and not self.intervals(train, end) > self.intervals(train, end - 1)
        return passed + self.at_start + last

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
        marks = [" "] * width
        for update in _one_a_column(train, evaluation, end, width):
            marks[min(update * width // end, width - 1)] = "*"
        runs, each = evaluation.runs(train, end), evaluation.batches()
        lines.append(
            f"{evaluation.plan.name:<{name_width}} |{''.join(marks)}| {runs:,} x {each:,} = "
            f"{runs * each:,} batches, one run every {evaluation.every:,} {evaluation.unit}: "
            f"after update {_shown(train, evaluation, end) or 'none'}"
        )
    return lines


def _one_a_column(train: StreamPlan, evaluation: Evaluation, end: int, width: int) -> Iterator[int]:
    """Yield updates after which it runs, one at least for each column that has any."""
    update = 0 if evaluation.at_start else evaluation.next_due(train, 0)
    while update < end:
        yield update
        column_end = -(-(update * width // end + 1) * end // width)
        update = evaluation.next_due(train, max(update, column_end - 1))
    if evaluation.last_due(train, end) == end:
        yield end


def _shown(train: StreamPlan, evaluation: Evaluation, end: int) -> str:
    """Return the first updates after which it runs, and the last."""
    runs, last = evaluation.runs(train, end), evaluation.last_due(train, end)
    first = [0] if evaluation.at_start and runs > 1 else []
    while len(first) < min(runs - 1, 3):
        first.append(evaluation.next_due(train, first[-1] if first else 0))
    shown = [f"{update:,}" for update in first] + (["..."] if runs > 4 else [])
    return ", ".join(shown + [f"{last:,}" for _ in range(min(runs, 1))])


def _floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Return the sum of (a * i + b) // m for i in [0, n), in as many rounds as Euclid's gcd."""
    total = 0
    while True:
        total += a // m * (n * (n - 1) // 2) + b // m * n
        a, b = a % m, b % m
        if a * n + b < m:
            return total
        # What is left counts the points of a lattice below a line: count them along its other axis.
        (n, b), m, a = divmod(a * n + b, m), a, m
