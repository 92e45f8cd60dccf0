"""The scheduler component: training steps with evaluations in between."""

from collections.abc import Iterator, Mapping

from feedrace.plugin import TRAIN, ConfigError, Problem, Step, StreamPlan
from feedrace_interleave import schedule
from feedrace_interleave.config import CallbackConfig, InterleavedSchedulerConfig


class InterleavedScheduler:
    """Runs the train stream and, whenever a callback's interval has passed, its stream whole."""

    def __init__(self, config: InterleavedSchedulerConfig) -> None:
        self.config = config

    @property
    def callbacks(self) -> tuple[CallbackConfig, ...]:
        """The streams that it needs besides the train stream."""
        return self.config.callbacks

    def steps(self, state: Mapping[str, int], plans: Mapping[str, StreamPlan]) -> Iterator[Step]:
        """Yield the steps that are left of the pass, from any update or in an evaluation.

        state: `pass`; `update`, updates done in all; `callback` and `batch`, the number of the
            callback that is running after this update and its batches done.

        Raises `StateError` for a state that is not in this schedule; `ConfigError` if neither a
        limit nor the train sampler ends the pass, and for a callback whose sampler is endless.
        """
        train, evaluations = plans[TRAIN], self._evaluations(plans)
        length = self._updates_per_pass(train)
        number = state["pass"]
        start, end = number * length, (number + 1) * length
        schedule.check_place(state, train, evaluations, start, end)
        yield from schedule.run(
            train,
            evaluations,
            number=number,
            end=end,
            update=state.get("update", start),
            callback=state.get("callback", 0),
            batch=state.get("batch", 0),
            pending="update" in state or start == 0,
        )

    def steps_per_pass(self, plans: Mapping[str, StreamPlan]) -> int:
        """Return the number of steps in the first pass, evaluations included."""
        train = plans[TRAIN]
        end = self._updates_per_pass(train)
        return end + sum(e.runs(train, end) * e.batches() for e in self._evaluations(plans))

    def timeline(self, plans: Mapping[str, StreamPlan]) -> list[str]:
        """Return lines that draw when each stream runs in a pass; no record is read."""
        train = plans[TRAIN]
        return schedule.timeline(train, self._evaluations(plans), self._updates_per_pass(train))

    def _evaluations(self, plans: Mapping[str, StreamPlan]) -> list[schedule.Evaluation]:
        return [
            schedule.evaluation_of(
                plans[callback.stream],
                callback,
                f"scheduler.callbacks[{i}]",
                at_start=callback.at_start,
                at_end=callback.at_end,
            )
            for i, callback in enumerate(self.callbacks)
        ]

    def _updates_per_pass(self, train: StreamPlan) -> int:
        config = self.config
        length = schedule.last_update(
            train, config.max_epochs, config.max_updates, config.max_samples
        )
        length = train.batches_per_pass if length is None else length
        if length is None:
            message = "nothing ends a pass: the train sampler is endless; give max_epochs, "
            raise ConfigError([Problem("scheduler", message + "max_updates or max_samples")])
        return length
