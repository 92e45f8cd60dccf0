"""Where we differ from the interface documents on purpose; table.toml has the words for each."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from feedrace import Pipeline, create
from feedrace.errors import ConfigError, DataError, FeedraceError, StateError
from feedrace.plugin import SamplerConfig, SamplerModule
from feedrace_interleave import InterleavedSampler, InterleavedSamplerConfig, SamplerIntervalConfig
from feedrace_samplers import EpochAwareSamplerConfig, EpochAwareSamplerModule
from feedrace_tfds import TFDSEagerConfig, TFDSEagerSource, TFDSStreamingConfig, TFDSStreamingSource


def sampler(**config):
    return EpochAwareSamplerModule(EpochAwareSamplerConfig(**{"num_records": 10, **config}))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    pytest.importorskip("tensorflow", reason="preparing the digits needs TensorFlow")
    folder = str(tmp_path_factory.mktemp("digits"))
    return {"name": "feedrace_digits", "split": "test", "data_dir": folder}


def test_an_epoch_is_a_permutation_of_our_own():
    made = sampler(num_records=1000)
    epoch = made.sample(1000)
    assert sorted(epoch) == list(range(1000)) != epoch
    traced = jax.jit(made.indices_at)(jnp.uint32(0), jnp.arange(1000, dtype=jnp.int32))
    assert traced.tolist() == epoch


def test_a_second_loop_is_the_next_pass():
    made = sampler()
    first, second = list(made), list(made)
    assert first != second
    made.reset()
    assert list(made) == first


def test_sample_moves_on():
    made = sampler()
    assert made.sample(4) + made.sample(10) == sampler().sample(10)
    assert len(made.sample(10)) == 10


def test_an_overtaken_iterator_raises():
    made = sampler()
    old = iter(made)
    next(old)
    next(iter(made))
    with pytest.raises(FeedraceError, match="out of date"):
        next(old)


def test_a_state_is_json_and_knows_its_config():
    made = sampler()
    made.sample(3)
    state = json.loads(json.dumps(made.get_state()))
    with pytest.raises(StateError, match="num_records"):
        sampler(num_records=11).set_state(state)
    twin = sampler(seed=7)
    twin.set_state(state)
    assert list(twin) == list(made)


def test_a_wrong_config_cannot_be_made():
    with pytest.raises(ValueError, match="num_epochs: 0 is neither"):
        EpochAwareSamplerConfig(num_records=3, num_epochs=0)
    with pytest.raises(ConfigError) as caught:
        create("sampler", "epoch-aware", num_records=0, seed=-1)
    assert [problem.path for problem in caught.value.problems] == ["num_records", "seed"]


def test_a_sampler_for_a_pipeline_defines_indices():
    class Backwards(SamplerModule):
        def indices(self, start, stop):
            return self.records_per_epoch - 1 - np.arange(start, stop) % self.records_per_epoch

    made = Backwards(SamplerConfig(num_records=4))
    source = create("source", "memory", data={"x": np.arange(4)})
    pipeline = Pipeline(source=source, sampler=made, batch_size=4)
    assert [batch["x"].tolist() for batch in pipeline] == [list(made)] == [[3, 2, 1, 0]]


def test_cacheable_on_a_sampler_warns():
    with pytest.warns(UserWarning, match="cacheable has no effect"):
        made = sampler(cacheable=True)
    assert made(4) != made(4)


def test_modules_have_no_logger():
    import feedrace.modules.batcher
    import feedrace.modules.sampler

    for module in (feedrace.modules.batcher, feedrace.modules.sampler):
        assert not hasattr(module, "logger")


def test_short_batches_are_padded_and_masked():
    source = create("source", "memory", data={"x": np.arange(1, 6)})
    _, last = Pipeline(source=source, batch_size=4)
    assert (last["x"].shape, last["valid_mask"].tolist()) == ((4,), [True, False, False, False])
    assert len(list(Pipeline(source=source, batch_size=4, drop_remainder=True))) == 1
    with pytest.raises(FeedraceError, match="valid_mask"):
        taken = create("source", "memory", data={"valid_mask": np.ones(3)})
        next(iter(Pipeline(source=taken, batch_size=2)))


def test_what_does_not_fit_is_an_error():
    with pytest.raises(DataError, match="does not fit int32"):
        create("source", "memory", data={"x": np.array([2**40])})


def test_the_eager_source_loads_when_it_is_needed(digits, monkeypatch):
    loads = []
    load = TFDSEagerSource.load
    monkeypatch.setattr(TFDSEagerSource, "load", lambda self: loads.append(1) or load(self))
    made = TFDSEagerSource(TFDSEagerConfig(**digits), rngs=nnx.Rngs(0))
    assert (made.length, loads) == (360, [])
    made.get_batch(2)
    made.clone().get_batch(2)
    assert loads == [1]


def test_tfds_configs_take_keywords():
    with pytest.raises(TypeError, match="positional"):
        TFDSEagerConfig(False, None, None, False, None, "mnist", "train")
    assert TFDSEagerConfig(name="mnist", split="train", pad_to={"x": 3}).pad_to == {"x": 3}
    assert (TFDSEagerConfig.shuffle, TFDSStreamingConfig.prefetch_buffer) == (False, 2)


def test_a_stream_is_shuffled_whole(digits):
    made = TFDSStreamingSource(TFDSStreamingConfig(shuffle=True, **digits))
    order = made.indices(0, 360)
    assert sorted(order) == list(range(360))
    assert order[:100].max() > 250
    windows = TFDSEagerConfig(
        shuffle=True, shuffle_mode="buffer", shuffle_buffer_size=100, **digits
    )
    within = TFDSEagerSource(windows).indices(0, 100)
    assert sorted(within) == list(range(100)) != list(within)


def test_a_stream_resumes_within_an_epoch(digits):
    made, twin = (TFDSStreamingSource(TFDSStreamingConfig(**digits)) for _ in range(2))
    made.get_batch(7)
    twin.set_state(json.loads(json.dumps(made.get_state())))
    assert (twin.get_batch(5)["label"] == made.get_batch(5)["label"]).all()


def test_a_key_chooses_the_batch():
    made = create("source", "memory", data={"x": np.arange(50)}, shuffle=True)
    key = jax.random.key(3)
    batch = made.get_batch_at(5, 10, key)["x"]
    assert (batch == jax.jit(made.get_batch_at, static_argnums=1)(5, 10, key)["x"]).all()
    whole = made.get_batch(50, key=key)["x"]
    assert sorted(whole.tolist()) == list(range(50))
    assert (whole[5:15] == batch).all()
    assert (whole != jax.random.permutation(key, 50)).any()


def test_a_sampler_of_ours_is_given_its_dataset():
    made = sampler(num_records=4)
    config = InterleavedSamplerConfig(batch_size=2, max_epochs=1)
    assert InterleavedSampler(made, config).dataset[3] == (0, 3)
    made.data_source = "abcd"
    assert InterleavedSampler(made, config).dataset[3] == (0, "d")


def test_limits_and_starts_may_be_zero():
    config = InterleavedSamplerConfig(batch_size=2, max_epochs=0, start_update=0)
    interval = SamplerIntervalConfig(range(3), None, 1)
    made = InterleavedSampler(range(4), config, callback_samplers=[interval])
    assert [index for _, index in made] == [4, 5, 6]
    assert InterleavedSamplerConfig.check_positive_values(0) == 0


def test_interval_configs_raise_value_errors():
    with pytest.raises(ValueError, match="exactly one of") as caught:
        SamplerIntervalConfig(range(3), None)
    assert isinstance(caught.value, ConfigError)
