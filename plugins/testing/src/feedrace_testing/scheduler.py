"""The suite of schedulers."""

import itertools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from feedrace.plugin import TRAIN, StateError, Step, StreamPlan, plan_stream, protocols, registry
from feedrace_testing.component import ComponentSuite


class SchedulerSuite(ComponentSuite):
    """The tests of a scheduler.

    num_records, num_epochs, batch_size: of the train stream, in the order of the built-in
        sequential sampler.
    callback_records: records of each callback's stream.
    """

    kind = "scheduler"
    num_records: ClassVar[int] = 23
    num_epochs: ClassVar[int] = 2
    batch_size: ClassVar[int] = 4
    callback_records: ClassVar[int] = 5

    def plans(self, made: Any) -> Mapping[str, StreamPlan]:
        """Return the plans of all streams that the scheduler runs."""
        several = protocols.provides(made, protocols.MultiStream)
        names = [callback.stream for callback in made.callbacks] if several else []
        return {
            TRAIN: _plan(TRAIN, self.num_records, self.num_epochs, self.batch_size),
            **{name: _plan(name, self.callback_records, 1, 2) for name in names},
        }

    @property
    def start(self) -> dict[str, int]:
        """The state before the first step."""
        return {"pass": 0}

    def material(self) -> Any:
        return self.plans(self.make())

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        return [_values(step) for step in itertools.islice(made.steps({"pass": 0}, material), 40)]

    def run(self, state: Mapping[str, int]) -> list[tuple[Any, ...]]:
        """Return the remaining steps of a pass, as values that can be compared."""
        made = self.make()
        return [_values(step) for step in made.steps(state, self.plans(made))]

    def test_the_state_after_any_step_resumes_exactly(self) -> None:
        made = self.make()
        steps = list(made.steps(self.start, self.plans(made)))
        whole = [_values(step) for step in steps]
        assert whole
        for number, step in enumerate(steps, 1):
            state = json.loads(json.dumps(step.after))
            assert all(isinstance(value, int) for value in state.values())
            assert "pass" in state
            assert self.run(state) == whole[number:]

    def test_a_pass_has_as_many_steps_as_it_promises(self) -> None:
        made = self.make()
        if not protocols.provides(made, protocols.Counted):
            pytest.skip("does not know how many steps a pass has")
        assert made.steps_per_pass(self.plans(made)) == len(self.run(self.start))

    def test_the_next_pass_begins_where_this_one_ends(self) -> None:
        first, second = self.run({"pass": 0}), self.run({"pass": 1})
        trained = [step for step in first + second if step[0] == TRAIN]
        assert [step[2] for step in trained] == list(range(1, len(trained) + 1))

    def test_the_train_steps_serve_the_records_of_their_plan(self) -> None:
        made = self.make()
        plan = self.plans(made)[TRAIN]
        steps = [step for step in made.steps(self.start, self.plans(made)) if step.stream == TRAIN]
        wanted = plan.batches(0, len(steps))
        for step, (_, start, indices) in zip(steps, wanted, strict=True):
            assert step.start == start
            assert np.array_equal(step.indices, indices)

    def test_callbacks_run_whole(self) -> None:
        self.require("callbacks")
        made = self.make()
        plans = self.plans(made)
        assert len(plans) > 1, "give a config with a callback"
        for name in plans.keys() - {TRAIN}:
            mine = [step for step in made.steps(self.start, plans) if step.stream == name]
            assert mine
            assert len(mine) % plans[name].batches_per_epoch == 0
            assert mine[0].first
            assert mine[-1].last

    def test_every_host_makes_the_same_steps(self) -> None:
        assert self.run(self.start) == self.run(self.start)

    def test_states_that_no_step_reaches_are_refused(self) -> None:
        made = self.make()
        far = 10**6
        for wrong in ({"pass": 0, "update": far}, {"pass": 0, "no_such_counter": 1}):
            with pytest.raises(StateError):
                next(made.steps(wrong, self.plans(made)), None)


def _plan(name: str, records: int, epochs: int, batch_size: int) -> StreamPlan:
    sampler = registry.create("sampler", "sequential", num_records=records, num_epochs=epochs)
    return plan_stream(name, sampler, batch_size=batch_size, drop_remainder=False)


def _values(step: Step) -> tuple[Any, ...]:
    """Return all that a step holds, as values that can be compared."""
    return (
        step.stream, step.epoch, step.update, step.sample, tuple(step.indices.tolist()),
        step.start, step.first, step.last, tuple(sorted(step.after.items())),
    )  # fmt: skip
