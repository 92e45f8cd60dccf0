import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import build, create
from feedrace.errors import ConfigError
from feedrace_samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule


def sampler(**fields):
    return EpochAwareSamplerModule(EpochAwareSamplerConfig(**{"num_records": 20, **fields}))


def test_defaults_are_those_of_the_interface():
    config = EpochAwareSamplerConfig()
    assert (config.num_records, config.num_epochs, config.shuffle, config.seed) == (
        None,
        1,
        True,
        42,
    )
    assert (config.cacheable, config.stochastic, config.stream_name) == (False, False, None)


@given(n=st.integers(1, 300), epochs=st.integers(1, 4), seed=st.integers(0, 2**63 - 1))
def test_every_record_comes_once_per_epoch(n, epochs, seed):
    order = list(sampler(num_records=n, num_epochs=epochs, seed=seed))
    assert len(order) == n * epochs
    for e in range(epochs):
        assert sorted(order[e * n : (e + 1) * n]) == list(range(n))


def test_each_epoch_and_each_pass_has_another_order():
    made = sampler(num_epochs=2)
    order = [*made, *made]
    epochs = {tuple(order[i : i + 20]) for i in range(0, 80, 20)}
    assert len(epochs) == 4
    assert list(sampler(num_epochs=4)) == order


def test_without_shuffle_the_order_is_that_of_storage():
    assert list(sampler(shuffle=False, num_epochs=2)) == [*range(20)] * 2


def test_by_name_it_is_the_same():
    assert list(create("sampler", "epoch-aware", num_records=20)) == list(sampler())


def test_reset_goes_back_and_may_change_the_seed():
    made = sampler()
    first = list(made)
    made.reset()
    assert list(made) == first
    made.reset(seed=1)
    assert list(made) == list(sampler(seed=1)) != first
    assert made.config.seed == 1


@given(taken=st.integers(0, 60))
def test_state_at_every_position_continues_exactly(taken):
    made = sampler(num_epochs=3)
    made.reset(seed=8)
    iterator = iter(made)
    list(itertools.islice(iterator, taken))
    other = sampler(num_epochs=3)
    other.set_state(json.loads(json.dumps(made.get_state())))
    assert list(other) == list(iterator)


def test_a_callback_is_called_once_per_completed_epoch_in_order():
    completed = []
    made = sampler(num_epochs=3)
    made.add_epoch_callback(completed.append)
    made.add_epoch_callback(lambda epoch: completed.append(-epoch))
    iterator = iter(made)
    list(itertools.islice(iterator, 21))
    assert completed == [0, 0]
    list(iterator)
    assert completed == [0, 0, 1, -1, 2, -2]
    assert len(made.epoch_complete_callbacks) == 2


def test_a_callback_that_raises_leaves_the_position_right():
    def fail(epoch):
        raise RuntimeError(f"after epoch {epoch}")

    made = sampler()
    made.add_epoch_callback(fail)
    with pytest.raises(RuntimeError, match="after epoch 0"):
        list(made)
    assert made.position == 20
    made.epoch_complete_callbacks = ()
    assert list(made) == list(sampler(num_epochs=2))[20:]


def test_a_callback_is_called_where_reading_stops_on_the_last_index():
    completed = []
    made = sampler(num_epochs=2)
    made.add_epoch_callback(completed.append)
    made.sample(20)
    assert completed == [0]
    list(itertools.islice(made, 20))
    made.sample(0)
    assert completed == [0, 1]


def test_a_callback_is_called_inside_a_pipeline():
    completed = []
    made = sampler(num_records=5, num_epochs=2)
    made.add_epoch_callback(completed.append)
    source = {"use": "memory", "data": {"x": [0, 1, 2, 3, 4]}}
    pipeline = build({"batch_size": 2, "source": source, "sampler": made})
    for _ in pipeline:
        pass
    assert completed == [0, 1]


def test_clone_and_copy_are_independent():
    made = sampler()
    made.add_epoch_callback(print)
    next(iter(made))
    twin, other = made.clone(), made.copy(config=EpochAwareSamplerConfig(num_records=20, seed=3))
    twin.add_epoch_callback(print)
    assert len(made.epoch_complete_callbacks) == 1
    assert list(twin) == list(sampler())[1:]
    assert list(other) == list(sampler(seed=3))  # another config starts afresh
    assert other.epoch_complete_callbacks == (print,)
    assert made.position == 1


def test_progress_is_the_share_of_the_epoch():
    made = sampler(num_epochs=2)
    assert made.get_epoch_progress() == 0.0
    list(itertools.islice(made, 25))
    assert made.get_epoch_progress() == 0.25


def test_an_endless_sampler_goes_on_and_has_no_length():
    made = sampler(num_epochs=-1)
    assert len(list(itertools.islice(made, 100))) == 100
    with pytest.raises(TypeError, match="endless"):
        len(made)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_records": 0}, "num_records: 0 is not an int of 1 or more"),
        ({"num_records": -3}, "num_records: -3"),
        ({"num_records": 2.0}, "num_records: 2.0"),
        ({"num_records": True}, "num_records: True"),
        ({"num_epochs": 0}, "num_epochs: 0 is neither 1 or more nor -1"),
        ({"num_epochs": -2}, "num_epochs: -2"),
        ({"seed": -1}, "seed: -1 is not an int from 0 to"),
        ({"seed": 2**63}, "seed: 9223372036854775808"),
        ({"shuffle": 1}, "shuffle: 1 is neither true nor false"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_rule(fields, message):
    with pytest.raises(ConfigError, match=message):
        EpochAwareSamplerConfig(**fields)


def test_a_missing_num_records_is_reported_when_the_sampler_is_made():
    with pytest.raises(ConfigError, match="num_records: missing"):
        EpochAwareSamplerModule(EpochAwareSamplerConfig())


def test_a_subclass_overrides_indices_and_nothing_else():
    class Evens(EpochAwareSamplerModule):
        def indices(self, start, stop):
            return super().indices(start, stop) * 2

    made = Evens(EpochAwareSamplerConfig(num_records=5, num_epochs=2))
    completed = []
    made.add_epoch_callback(completed.append)
    first = list(made)
    assert sorted(first[:5]) == [0, 2, 4, 6, 8]
    assert completed == [0, 1]
    assert made.sample(3) == list(made.indices(10, 13))
