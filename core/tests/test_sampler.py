import itertools
import json

import numpy as np
import pytest
from flax import nnx

from feedrace import create
from feedrace.errors import ConfigError, FeedraceError, StateError
from feedrace.modules.sampler import _CHUNK
from feedrace.plugin import SamplerConfig, SamplerModule


class Backwards(SamplerModule):
    def indices(self, start, stop):
        n = self.records_per_epoch
        return n - 1 - np.arange(start, stop) % n


def sampler(n=5, epochs=1):
    return create("sampler", "sequential", num_records=n, num_epochs=epochs)


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
    with pytest.raises(StateError, match="is not one of this sampler"):
        made.set_state({**before, **change})
    assert made.get_state() == before


def test_a_sampler_works_after_it_went_through_nnx_jit():
    made = sampler(5)
    made.sample(1)
    assert nnx.jit(lambda module, x: x + 1)(made, 1) == 2
    assert list(made) == [1, 2, 3, 4]


def test_cacheable_does_not_hold_back_a_sampler():
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


def test_an_iterator_that_was_overtaken_says_so():
    made = sampler(_CHUNK + 5)
    old = iter(made)
    next(old)
    next(iter(made))
    with pytest.raises(FeedraceError, match="out of date"):
        list(old)


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


def test_a_sampler_without_seed_refuses_one():
    with pytest.raises(ConfigError, match="has no seed"):
        sampler().reset(seed=3)
