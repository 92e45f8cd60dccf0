"""The suite of schedulers."""

import itertools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from feedrace import registry
from feedrace.errors import StateError
from feedrace.plan.steps import TRAIN, StreamPlan, plan_stream
from feedrace_testing.component import ComponentSuite


class SchedulerSuite(ComponentSuite):
    """The tests of a scheduler.

    num_records, batch_size: of the train stream, which the built-in sequential sampler orders, in
        passes of `num_epochs`; each callback has a stream of `callback_records` records.
    """

    kind = "scheduler"
    num_records: ClassVar[int] = 23
    num_epochs: ClassVar[int] = 2
    batch_size: ClassVar[int] = 4
    callback_records: ClassVar[int] = 5

    def plans(self, made: Any) -> Mapping[str, StreamPlan]:
        """Return the plans of the streams that the scheduler runs."""
        names = [callback.stream for callback in getattr(made, "callbacks", ())]
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
        return [_told(step) for step in itertools.islice(made.steps({"pass": 0}, material), 40)]

    def run(self, state: Mapping[str, int]) -> list[Any]:
        """Return the steps that are left of a pass, as comparable values."""
        made = self.make()
        return [_told(step) for step in made.steps(state, self.plans(made))]

    def test_from_the_state_after_every_step_the_same_remainder_comes(self) -> None:
        made = self.make()
        steps = list(made.steps(self.start, self.plans(made)))
        whole = [_told(step) for step in steps]
        assert whole
        for number, step in enumerate(steps, 1):
            state = json.loads(json.dumps(step.after))
            assert all(isinstance(value, int) for value in state.values())
            assert "pass" in state
            assert self.run(state) == whole[number:]

    def test_a_pass_has_the_steps_it_says(self) -> None:
        made = self.make()
        if not hasattr(made, "steps_per_pass"):
            pytest.skip("it does not say how many steps a pass has")
        assert made.steps_per_pass(self.plans(made)) == len(self.run(self.start))

    def test_the_next_pass_begins_where_this_one_ends(self) -> None:
        first, second = self.run({"pass": 0}), self.run({"pass": 1})
        trained = [step for step in first + second if step[0] == TRAIN]
        assert [step[2] for step in trained] == list(range(1, len(trained) + 1))

    def test_the_train_steps_are_those_of_its_plan_and_of_no_other_records(self) -> None:
        made = self.make()
        plan = self.plans(made)[TRAIN]
        steps = [step for step in made.steps(self.start, self.plans(made)) if step.stream == TRAIN]
        wanted = plan.batches(0, len(steps))
        for step, (_, start, indices) in zip(steps, wanted, strict=True):
            assert step.start == start
            assert np.array_equal(step.indices, indices)

    def test_callbacks_run_whole(self) -> None:
        if not self.can("callbacks"):
            pytest.skip("it does not promise callbacks")
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

    def test_states_that_no_step_leads_to_are_refused(self) -> None:
        made = self.make()
        far = 10**6
        for wrong in ({"pass": 0, "update": far}, {"pass": 0, "no_such_counter": 1}):
            with pytest.raises(StateError):
                next(made.steps(wrong, self.plans(made)), None)


def _plan(name: str, records: int, epochs: int, batch_size: int) -> StreamPlan:
    sampler = registry.create("sampler", "sequential", num_records=records, num_epochs=epochs)
    return plan_stream(name, sampler, batch_size=batch_size, drop_remainder=False)


def _told(step: Any) -> tuple[Any, ...]:
    """Return what a step says, in values that compare."""
    return (
        step.stream, step.epoch, step.update, step.sample, tuple(step.indices.tolist()),
        step.start, step.first, step.last, tuple(sorted(step.after.items())),
    )  # fmt: skip
