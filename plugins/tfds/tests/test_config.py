import pytest

from feedrace import create
from feedrace.errors import ConfigError
from feedrace_tfds import TFDSEagerConfig, TFDSStreamingConfig

BOTH = {"name": "d", "split": "train"}


def test_defaults_are_those_of_the_interface():
    eager, streaming = TFDSEagerConfig(**BOTH), TFDSStreamingConfig(**BOTH)
    for config in (eager, streaming):
        assert (config.data_dir, config.include_keys, config.exclude_keys) == (None, None, None)
        assert not any([config.try_gcs, config.shuffle, config.as_supervised])
        assert (config.download_and_prepare_kwargs, config.beam_num_workers) == (None, None)
        assert config.local_files_only is False
    assert eager.seed == 42
    assert (streaming.shuffle_buffer_size, streaming.prefetch_buffer) == (1000, 2)


@pytest.mark.parametrize("name", ["tfds-eager", "tfds-streaming"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "train"}, "name: missing"),
        ({"name": "d"}, "split: missing"),
        ({**BOTH, "include_keys": ["a"], "exclude_keys": ["b"]}, "exclude_keys: given with"),
        ({**BOTH, "try_gcs": True, "data_dir": "x"}, "try_gcs: given with data_dir"),
        ({**BOTH, "shufle": True}, "did you mean 'shuffle'"),
        ({**BOTH, "as_supervised": "yes"}, "as_supervised: expected 'bool'"),
        ({**BOTH, "beam_num_workers": 0}, "beam_num_workers: 0"),
        ({**BOTH, "include_keys": {1, "a"}}, r"include_keys\[0\]: expected 'str', got 'int'"),
        ({**BOTH, "error_budget": 1.5}, "error_budget: 1.5 is neither a count .* nor a share"),
        ({**BOTH, "error_budget": 10**40}, "error_budget: 1000.* is neither a count"),
        ({**BOTH, "pad_to": {"x": 2**31}}, r"pad_to\.x: 2147483648 is neither a length from 1 to"),
        ({**BOTH, "shuffle_buffer_size": 2**31}, "shuffle_buffer_size: 2147483648 is not an int"),
        ({**BOTH, "num_threads": 1025}, "num_threads: 1025 is not an int from 1 to 1024"),
        ({**BOTH, "num_threads": 0}, "num_threads: 0 is not"),
        ({**BOTH, "beam_num_workers": 10**9}, "beam_num_workers: 1000000000 is not"),
        ({"name": "d", "split": "+".join(["train"] * 3000)}, "split: .* at most 500 terms"),
        ({**BOTH, "trusted_features": "a.B"}, "trusted_features"),
        ({**BOTH, "pad_to": {"x": [2, 0]}}, r"pad_to\.x: \[2, 0\] is neither a length"),
    ],
)
def test_a_wrong_field_is_named(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        create("source", name, **fields)


def test_streaming_fields_have_their_rules():
    for field, wrong in [
        ("shuffle_mode", "locall"),
        ("shuffle_buffer_size", 0),
        ("prefetch_buffer", 0),
        ("prefetch_buffer", 1025),
    ]:
        with pytest.raises(ConfigError, match=field):
            TFDSStreamingConfig(**BOTH, **{field: wrong})


def test_a_set_of_keys_of_several_types_is_refused_in_python_too():
    with pytest.raises(ConfigError, match=r"exclude_keys: .* is not a set of names"):
        TFDSEagerConfig(**BOTH, exclude_keys={1, "a"})


def test_key_sets_may_be_written_as_lists_and_configs_are_hashable():
    config = TFDSEagerConfig(**BOTH, include_keys=["b", "a"])
    assert config.include_keys == frozenset("ab")
    assert hash(config) == hash(TFDSEagerConfig(**BOTH, include_keys={"a", "b"}))
