import itertools
import json

import attrs
import numpy as np
import pytest
from flax import nnx

from feedrace import create
from feedrace.errors import ConfigError, FeedraceError, StateError
from feedrace.modules.sampler import _CHUNK
from feedrace.plugin import Order, OrderedSamplerModule, SamplerConfig, SamplerModule


class Backwards(SamplerModule):
    def indices(self, start, stop):
        n = self.records_per_epoch
        return n - 1 - np.arange(start, stop) % n


def sampler(n=5, epochs=1):
    return create("sampler", "sequential", num_records=n, num_epochs=epochs)


@pytest.mark.parametrize(
    "wrong", [{"_position": 10**5000}, {"_position": "x" * 10**6}, {"x" * 10**6: 1}, {3: 1, "a": 2}]
)
def test_a_state_with_what_no_position_is_is_refused_in_a_few_words(wrong):
    made = sampler()
    saved = made.get_state()
    with pytest.raises(StateError) as caught:
        made.set_state({**saved, **wrong})
    assert len(str(caught.value)) < 2000
    assert made.get_state() == saved


def test_a_pass_of_more_positions_than_an_int64_counts_is_refused():
    made = create("sampler", "sequential", num_records=2**40, num_epochs=2**40)
    for use in (lambda: len(made), lambda: next(iter(made))):
        with pytest.raises(ConfigError, match=r"^num_epochs: 1099511627776 epochs of .* endless"):
            use()
    with pytest.raises(ConfigError, match=r"stop: 9223372036854775808 is not an int from 0 to"):
        made.indices(0, 2**63)


def test_one_method_makes_a_sampler():
    made = Backwards(SamplerConfig(num_records=3))
    assert list(made) == [2, 1, 0]
    assert len(made) == 3
    assert (made.index_spec().shape, made.index_spec().dtype) == ((), np.int32)


def test_each_pass_goes_on_where_the_last_one_ended():
    made = sampler(3, epochs=2)
    assert list(made) == [0, 1, 2, 0, 1, 2]
    assert made.position == 6
    assert list(made) == [0, 1, 2, 0, 1, 2]
    assert made.position == 12
    made.reset()
    assert made.position == 0


def test_iterating_resumes_at_the_position():
    made = sampler(5)
    assert list(itertools.islice(made, 2)) == [0, 1]
    assert made.position == 2
    assert list(made) == [2, 3, 4]
    assert made.sample(3) == [0, 1, 2]
    assert made.process(9) == [3, 4]
    assert made(2) == [0, 1]


def test_state_at_every_position_continues_exactly():
    n = _CHUNK // 2 + 7  # so that epochs end within chunks and chunks within epochs
    everything = list(sampler(n, epochs=3))
    for taken in [0, 1, n - 1, n, n + 1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 2 * n, 3 * n - 1, 3 * n]:
        first, second = sampler(n, epochs=3), sampler(n, epochs=3)
        iterator = iter(first)
        assert list(itertools.islice(iterator, taken)) == everything[:taken]
        second.set_state(json.loads(json.dumps(first.get_state())))
        assert list(second) == list(iterator) == everything[taken:]
        assert first.get_state() == second.get_state()


def test_stopping_on_the_last_index_of_a_pass_leads_to_the_next():
    made = sampler(5)
    assert [made.sample(5) for _ in range(3)] == [list(range(5))] * 3
    for _ in range(3):
        assert list(itertools.islice(made, 5)) == list(range(5))


@pytest.mark.parametrize("change", [{"_position": -3}, {"_pass_start": 4}, {"_position": 6}])
def test_a_position_outside_the_pass_is_refused_and_changes_nothing(change):
    made = sampler(5)
    made.sample(2)
    before = made.get_state()
    with pytest.raises(StateError, match="does not exist in this Sequential"):
        made.set_state({**before, **change})
    assert made.get_state() == before


def test_a_sampler_works_after_it_went_through_nnx_jit():
    made = sampler(5)
    made.sample(1)
    assert nnx.jit(lambda module, x: x + 1)(made, 1) == 2
    assert list(made) == [1, 2, 3, 4]


def test_cacheable_has_no_effect_on_a_sampler_and_a_warning_says_so():
    with pytest.warns(UserWarning, match="no effect on a SequentialSamplerModule"):
        made = create("sampler", "sequential", num_records=4, cacheable=True)
    assert [made(2), made(2)] == [[0, 1], [2, 3]]


def test_clones_do_not_share_a_position():
    made = sampler(5)
    iterator = iter(made)
    next(iterator)
    twin = made.clone()
    copied = made.copy()
    assert next(iterator) == 1
    assert list(twin) == list(copied) == [1, 2, 3, 4]
    assert list(iterator) == [2, 3, 4]


def take(n, iterator):
    return list(itertools.islice(iterator, n))


@pytest.mark.parametrize("n", [5, _CHUNK + 5])
def test_an_iterator_that_was_overtaken_raises_on_its_next_index(n):
    made = sampler(n)
    old, new = iter(made), iter(made)
    assert take(2, old) == [0, 1]
    assert take(2, new) == [2, 3]
    with pytest.raises(FeedraceError, match="SequentialSamplerModule is out of date"):
        next(old)
    assert take(n, new) == list(range(4, n))
    assert made.position == n
    with pytest.raises(FeedraceError, match="out of date"):
        list(zip(made, made, strict=True))


@pytest.mark.parametrize(
    "move",
    [
        SamplerModule.reset,
        lambda made: made.set_epoch(1),
        lambda made: made.set_state(made.get_state()),
        lambda made: made.sample(1),
    ],
)
def test_an_iterator_of_a_sampler_that_was_moved_raises(move):
    made = sampler(5)
    old = iter(made)
    next(old)
    move(made)
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)


def test_an_iterator_overtaken_on_the_last_index_raises_too():
    made = sampler(3)
    old = iter(made)
    assert take(3, old) == [0, 1, 2]
    assert take(1, iter(made)) == [0]
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)


def test_an_iterator_overtaken_at_the_end_of_an_epoch_raises():
    @attrs.frozen(kw_only=True)
    class Config(SamplerConfig):
        num_epochs: int = 3

    class Nested(OrderedSamplerModule):
        def epoch_completed(self, epoch):
            inner.append(iter(self))
            assert next(inner[-1]) == 0

    inner = []
    made = Nested(Config(num_records=2))
    old = iter(made)
    assert take(2, old) == [0, 1]
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)
    assert next(inner[0]) == 1


def test_a_state_at_the_end_of_a_pass_gives_nothing_and_then_the_next_pass():
    made = sampler(3)
    made.set_state({**made.get_state(), "_position": 3})
    assert list(made) == []
    assert list(made) == [0, 1, 2]


def test_numpy_integers_count_as_integers():
    made = sampler(np.int64(10), epochs=np.int32(2))
    assert made.sample(np.int64(3)) == [0, 1, 2]
    assert made.indices(np.int64(9), np.int64(11)).tolist() == [9, 0]
    made.set_epoch(np.uint8(1))
    assert (made.position, len(made), type(len(made))) == (10, 20, int)
    json.dumps(made.get_state())


def test_an_ordered_sampler_takes_seed_and_shuffle_from_its_config():
    @attrs.frozen(kw_only=True)
    class Config(SamplerConfig):
        seed: int = 3
        shuffle: bool = True

    made = OrderedSamplerModule(Config(num_records=9))
    assert made.order == Order(9, 3)
    assert made.sample(9) == Order(9, 3).indices(0, 9).tolist()
    assert made.indices_at(1, np.arange(9, dtype=np.int32)).tolist() == made.indices(9, 18).tolist()
    stored = OrderedSamplerModule(Config(num_records=9, shuffle=False))
    assert stored.order == OrderedSamplerModule(SamplerConfig(num_records=9)).order == Order(9)
    with pytest.raises(ConfigError, match="start: 4 is above stop, 3"):
        made.indices(4, 3)


def test_an_endless_sampler_has_no_length():
    made = sampler(2, epochs=-1)
    with pytest.raises(TypeError, match="endless"):
        len(made)
    assert list(itertools.islice(made, 5)) == [0, 1, 0, 1, 0]


def test_a_missing_num_records_is_named():
    with pytest.raises(ConfigError, match="num_records: missing"):
        len(create("sampler", "sequential"))


@pytest.mark.parametrize("n", [0, -1, 2.0, "5", True])
def test_num_records_is_a_positive_int(n):
    with pytest.raises(ConfigError, match="num_records"):
        create("sampler", "sequential", num_records=n)
    with pytest.raises(ConfigError, match="num_records"):
        SamplerConfig(num_records=n)


@pytest.mark.parametrize("epochs", [0, -2])
def test_num_epochs_is_positive_or_endless(epochs):
    with pytest.raises(ConfigError, match="num_epochs"):
        sampler(5, epochs=epochs)


def test_a_seed_has_no_effect_on_a_sampler_without_randomness():
    made = sampler(3)
    made.sample(2)
    made.reset(seed=3)
    assert list(made) == [0, 1, 2]
    with pytest.raises(ConfigError, match="seed: -1 is not an int from 0"):
        made.reset(seed=-1)


@attrs.frozen(kw_only=True)
class Shuffled(SamplerConfig):
    seed: int = 3
    shuffle: bool = True
    num_epochs: int = 2


@pytest.mark.parametrize("change", [{"num_records": 8}, {"shuffle": False}, {"num_epochs": 3}])
def test_the_state_of_a_differently_configured_sampler_is_refused(change):
    made = OrderedSamplerModule(Shuffled(num_records=9))
    made.sample(4)
    state = json.loads(json.dumps(made.get_state()))
    other = OrderedSamplerModule(attrs.evolve(made.config, **change))
    before = other.get_state()
    [(name, value)] = change.items()
    saved = getattr(made.config, name)
    message = f"with another config.*{name}: {json.dumps(saved)} -> {json.dumps(value)}"
    with pytest.raises(StateError, match=message):
        other.set_state(state)
    assert other.get_state() == before
    reseeded = OrderedSamplerModule(attrs.evolve(made.config, seed=4))
    reseeded.set_state(state)  # the seed is part of the state
    assert list(reseeded) == list(made)


def test_the_state_of_a_sampler_with_a_long_config_stays_small():
    @attrs.frozen(kw_only=True)
    class Listed(SamplerConfig):
        sizes: tuple[int, ...] = ()

    made = OrderedSamplerModule(Listed(num_records=9, sizes=tuple(range(5000))))
    assert len(json.dumps(made.get_state())) < 2048
    other = OrderedSamplerModule(Listed(num_records=9, sizes=tuple(range(5001))))
    with pytest.raises(StateError, match="sizes"):
        other.set_state(made.get_state())
