"""Training steps with evaluations in between, as a function of a few counters."""

from collections.abc import Iterator, Mapping

from penstock import ConfigError, StateError, Step
from penstock.errors import Problem
from penstock.plan import TRAIN, StreamPlan, train_step
from penstock_interleave.config import CallbackConfig, InterleavedSchedulerConfig


class InterleavedScheduler:
    """Runs the train stream and, whenever a callback's interval has passed, its stream whole.

    An interval of samples has passed when training crosses a multiple of it. Each evaluation is a
    later pass of its sampler.
    """

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

        Raises `StateError` for a state that is no place in this schedule; `ConfigError` where
        neither a limit nor the train sampler ends the pass, and for a callback whose sampler is
        endless.
        """
        train = plans[TRAIN]
        length = self._updates_per_pass(train)
        number = state["pass"]
        update = state.get("update", number * length)
        here = (state.get("callback", 0), state.get("batch", 0))
        self._check(state, length, plans)
        if "update" in state:
            yield from self._evaluations(number, update, plans, *here)
        while update < (number + 1) * length:
            yield train_step(train, update, after={"pass": number, "update": update + 1})
            update += 1
            yield from self._evaluations(number, update, plans, 0, 0)

    def _check(
        self, state: Mapping[str, int], length: int, plans: Mapping[str, StreamPlan]
    ) -> None:
        start = state["pass"] * length
        keys = set(state)
        good = keys in ({"pass"}, {"pass", "update"}, {"pass", "update", "callback", "batch"})
        good = good and start <= state.get("update", start) <= start + length
        if good and "callback" in state:
            number, update = state["callback"], state["update"]
            good = number < len(self.callbacks)
            if good:
                callback = self.callbacks[number]
                batches = plans[callback.stream].batches_per_pass or 0
                good = state["batch"] <= batches and _is_due(callback, plans[TRAIN], update)
        if not good:
            raise StateError(f"{dict(state)} is no place in a schedule of {length} updates a pass")

    def _evaluations(
        self,
        number: int,
        update: int,
        plans: Mapping[str, StreamPlan],
        first_callback: int,
        first_batch: int,
    ) -> Iterator[Step]:
        """Yield the evaluations due after `update`, from a batch of one of them on."""
        train = plans[TRAIN]
        for i, callback in enumerate(self.config.callbacks):
            if i < first_callback or not _is_due(callback, train, update):
                continue
            plan = plans[callback.stream]
            batches = plan.batches_per_pass
            if batches is None:
                raise ConfigError(
                    [Problem(f"scheduler.callbacks[{i}].sampler", "is endless; it needs an end")]
                )
            done_before = (_intervals(callback, train, update) - 1) * batches
            for batch in range(first_batch if i == first_callback else 0, batches):
                yield plan.step(
                    done_before + batch,
                    epoch=update // train.batches_per_epoch,
                    update=update,
                    sample=train.samples(update),
                    first=batch == 0,
                    last=batch == batches - 1,
                    after={"pass": number, "update": update, "callback": i, "batch": batch + 1},
                )

    def _updates_per_pass(self, train: StreamPlan) -> int:
        limits = []
        if self.config.max_epochs is not None:
            limits.append(self.config.max_epochs * train.batches_per_epoch)
        if self.config.max_updates is not None:
            limits.append(self.config.max_updates)
        if self.config.max_samples is not None:
            epochs, rest = divmod(self.config.max_samples, train.samples_per_epoch)
            limits.append(epochs * train.batches_per_epoch + -(-rest // train.batch_size))
        if not limits and train.batches_per_pass is not None:
            limits.append(train.batches_per_pass)
        if not limits:
            raise ConfigError(
                [
                    Problem(
                        "scheduler",
                        "nothing ends a pass: the train sampler is endless; give max_epochs, "
                        "max_updates or max_samples",
                    )
                ]
            )
        return min(limits)


def _intervals(callback: CallbackConfig, train: StreamPlan, update: int) -> int:
    """Return how many of the callback's intervals have passed once `update` updates are done."""
    if callback.every_n_epochs is not None:
        return update // train.batches_per_epoch // callback.every_n_epochs
    if callback.every_n_updates is not None:
        return update // callback.every_n_updates
    assert callback.every_n_samples is not None
    return train.samples(update) // callback.every_n_samples


def _is_due(callback: CallbackConfig, train: StreamPlan, update: int) -> bool:
    if update == 0:
        return False
    passed = _intervals(callback, train, update)
    return passed > _intervals(callback, train, update - 1)
