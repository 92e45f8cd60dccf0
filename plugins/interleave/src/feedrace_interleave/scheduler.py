"""The scheduler component: training steps with evaluations in between."""

from collections.abc import Iterator, Mapping

from feedrace.plugin import TRAIN, ConfigError, Configured, Problem, Step, StreamPlan, WindowPlan
from feedrace_interleave import counted, schedule, timeline
from feedrace_interleave.config import CallbackConfig, InterleavedSchedulerConfig

Plans = Mapping[str, schedule.Plan]


class InterleavedScheduler(Configured):
    """Runs the train stream and, whenever a callback's interval has passed, its stream whole."""

    def __init__(self, config: InterleavedSchedulerConfig) -> None:
        self.config = config

    @property
    def callbacks(self) -> tuple[CallbackConfig, ...]:
        """The streams that it needs besides the train stream."""
        return self.config.callbacks

    def steps(self, state: Mapping[str, int], plans: Plans) -> Iterator[Step]:
        """Yield the steps that are left of the pass, from any update or in an evaluation.

        state: `pass`; `update`, updates done in all; `callback` and `batch`, the number of the
            callback that is running after this update and its batches done.

        Raises `StateError` for a state that is not in this schedule; `ConfigError` if neither a
        limit nor the train sampler ends the pass, and for a callback whose sampler is endless.
        """
        train, evaluations = plans[TRAIN], self._evaluations(plans)
        if isinstance(train, WindowPlan):
            limits = self._limits(train)
            counted.check_place(state, train, evaluations, limits)
            yield from counted.run(
                train,
                evaluations,
                limits,
                number=state["pass"],
                update=state.get("update", 0),
                callback=state.get("callback", 0),
                batch=state.get("batch", 0),
            )
            return
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

    def steps_per_pass(self, plans: Plans) -> int | None:
        """Return the number of steps in the first pass, evaluations included.

        None if only reading shows it.
        """
        is_known = all(isinstance(plan, StreamPlan) for plan in plans.values())
        return self.least_steps_per_pass(plans) if is_known else None

    def least_steps_per_pass(self, plans: Plans) -> int:
        """Return a number of steps that the first pass has at least, evaluations included."""
        train, evaluations = plans[TRAIN], self._evaluations(plans)
        if isinstance(train, WindowPlan):
            limits = self._limits(train)
            end = limits.least_updates(train)
            runs = [limits.least_runs(train, e) for e in evaluations]
        else:
            end = self._updates_per_pass(train)
            runs = [e.runs(train, end) for e in evaluations]
        return end + sum(n * e.batches() for n, e in zip(runs, evaluations, strict=True))

    def timeline(self, plans: Plans) -> list[str]:
        """Return lines that draw when each stream runs in a pass; no record is read."""
        train, evaluations = plans[TRAIN], self._evaluations(plans)
        if isinstance(train, WindowPlan):
            return timeline.counted_lines(train, evaluations, self._limits(train))
        return timeline.timeline(train, evaluations, self._updates_per_pass(train))

    def _evaluations(self, plans: Plans) -> list[schedule.Evaluation]:
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
        limits = self._limits(train)
        end = schedule.last_update(train, limits.epochs, limits.updates, limits.samples)
        assert end is not None  # there is a limit
        return end

    def _limits(self, train: schedule.Plan) -> counted.Limits:
        """Return what ends a pass; without a limit, the pass of the train sampler."""
        config = self.config
        limits = counted.Limits(config.max_epochs, config.max_updates, config.max_samples)
        if limits == counted.Limits(None, None, None):
            limits = counted.Limits(train.epochs, None, None)
            if train.epochs is None:
                message = "nothing ends a pass: the train sampler is endless; give max_epochs, "
                raise ConfigError([Problem("scheduler", message + "max_updates or max_samples")])
        return limits
