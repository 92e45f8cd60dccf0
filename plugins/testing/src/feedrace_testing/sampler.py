"""The suite of samplers."""

import itertools
import json
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import run_state_machine_as_test

from feedrace.plugin import ConfigError, FeedraceError, StateError, plan_stream
from feedrace_testing.component import ComponentSuite
from feedrace_testing.machine import checkpoint_machine
from feedrace_testing.strategies import spans


class SamplerSuite(ComponentSuite):
    """The tests of a sampler built on `SamplerModule`.

    num_records: records to sample from, unless `config` has them.

    Of its capabilities, "exactly-once" adds that an epoch serves every record once, and
    "reshuffles" that each epoch and each seed gives another order.
    """

    kind = "sampler"
    num_records: ClassVar[int] = 23

    def make(self, **fields: Any) -> Any:
        cls = self.config_class()
        known = () if cls is None else [field.name for field in attrs.fields(cls)]
        if "num_records" in known and "num_records" not in self.config:
            fields = {"num_records": self.num_records, **fields}
        return super().make(**fields)

    @staticmethod
    def observe(made: Any, material: Any) -> Any:
        return made.indices(0, 2 * made.records_per_epoch + 3)

    def test_indices_are_int64_one_per_position_and_within_the_source(self) -> None:
        made = self.make()
        window = made.index_spec().shape
        end = 2 * made.records_per_epoch
        for start, stop in ((0, end), (3, 3), (5, 6), (end, end + 1)):
            indices = made.indices(start, stop)
            assert isinstance(indices, np.ndarray)
            assert (indices.dtype, indices.shape) == (np.int64, (stop - start, *window))
        whole = made.indices(0, end)
        assert whole.min() >= 0
        number = getattr(made.config, "num_records", None)
        if number is not None:
            assert whole.max() < number

    def test_indices_are_a_pure_function_of_the_positions(self) -> None:
        made, other = self.make(), self.make()
        end = 3 * made.records_per_epoch

        @settings(max_examples=self.max_examples, deadline=None, database=None)
        @given(spans(end))
        def check(span: list[int]) -> None:
            a, b, c = span
            parts = [made.indices(a, b), made.indices(b, c)]
            assert np.array_equal(np.concatenate(parts), other.indices(a, c))

        check()

    def test_a_far_position_is_reached_directly(self) -> None:
        made = self.make()
        far = 10**9 * made.records_per_epoch
        indices = made.indices(far, far + 5)
        assert np.array_equal(indices, self.make().indices(far, far + 5))
        assert len(indices) == 5

    def test_an_epoch_serves_every_record_once(self) -> None:
        self.require("exactly-once")
        made = self.make()
        size = made.records_per_epoch
        for epoch in range(3):
            served = made.indices(epoch * size, (epoch + 1) * size)
            assert sorted(served.tolist()) == list(range(made.config.num_records))

    def test_each_epoch_and_each_seed_has_another_order(self) -> None:
        self.require("reshuffles")
        made = self.make()
        size = made.records_per_epoch
        first, second = made.indices(0, size).tolist(), made.indices(size, 2 * size).tolist()
        assert first != second
        other = self.make(seed=made.config.seed + 1)
        assert other.indices(0, size).tolist() not in (first, second)

    def test_a_pass_yields_len_records_and_the_next_continues(self) -> None:
        made = self.make()
        length = len(made)
        assert length % made.records_per_epoch == 0, "a pass is not a whole number of epochs"
        assert list(made) == made.indices(0, length).tolist()
        assert list(made) == made.indices(length, 2 * length).tolist()
        made.reset()
        assert made.sample(3) == made.indices(0, min(3, length)).tolist()

    def test_an_iterator_raises_once_another_has_moved_the_sampler(self) -> None:
        made = self.make()
        old, new = iter(made), iter(made)
        next(old)
        next(new)
        with pytest.raises(FeedraceError):
            next(old)

    def test_a_saved_state_at_any_position_resumes_exactly(self) -> None:
        made = self.make()
        length = len(made)
        whole = made.indices(0, length).tolist()
        for position in range(min(length, 100) + 1):
            running = self.make()
            taken = list(itertools.islice(running, position))
            state = json.loads(json.dumps(running.get_state()))
            resumed = self.make()
            resumed.set_state(state)
            assert taken == whole[:position]
            assert list(resumed) == whole[position:]

    def test_saving_and_restoring_in_any_order_changes_nothing(self) -> None:
        reference = self.make()
        machine = checkpoint_machine(
            self.make,
            lambda start, stop: reference.indices(start, stop).tolist(),
            take=lambda made, n: made.sample(n),
            length=len(reference),
        )
        chosen = settings(max_examples=self.max_examples, stateful_step_count=12, deadline=None,
                          database=None)  # fmt: skip
        run_state_machine_as_test(machine, settings=chosen)

    @pytest.mark.parametrize("hosts", [2, 3])
    def test_hosts_take_equal_steps_and_together_whole_batches(self, hosts: int) -> None:
        """Each host has its own sampler, and takes its rows of every batch."""
        size = 2 * hosts

        def steps() -> list[Any]:
            made = self.make()
            plan = plan_stream("train", made, batch_size=size, drop_remainder=False)
            return [step.indices for step in plan.train_steps(0, plan.batches_per_epoch, _nothing)]

        alone, all_hosts = steps(), [steps() for _ in range(hosts)]
        assert {len(of_one) for of_one in all_hosts} == {len(alone)}
        for number, batch in enumerate(alone):
            rows = [of[number][2 * h : 2 * h + 2] for h, of in enumerate(all_hosts)]
            assert np.array_equal(np.concatenate(rows), batch)

    def test_bad_positions_and_states_are_refused_and_change_nothing(self) -> None:
        made = self.make()
        for start, stop in ((-1, 3), (3, 1), (0.5, 2), (0, "3")):
            with pytest.raises((ConfigError, TypeError)):
                made.indices(start, stop)
        with pytest.raises(ConfigError):
            made.sample(-1)
        made.sample(2)
        before = made.get_state()
        for no_state in (None, 3, "x"):
            with pytest.raises(TypeError):
                made.set_state(no_state)
        for wrong in ({}, {**before, "more": 1}, {**before, "_position": -1}):
            with pytest.raises(StateError):
                made.set_state(wrong)
        assert made.get_state() == before

    def test_a_clone_continues_independently_from_the_same_position(self) -> None:
        made = self.make()
        made.sample(2)
        twin = made.clone()
        assert twin.sample(3) == made.sample(3)


def _nothing(done: int) -> dict[str, int]:
    return {"pass": 0, "update": done}
