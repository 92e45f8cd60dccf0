import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import ConfigError, DataError, build, create
from penstock_batchers import DefaultBatcher, DefaultBatcherConfig


def batcher():
    return DefaultBatcher(DefaultBatcherConfig())


def elements(count):
    return [{"x": np.full((2, 3), i, np.uint8), "in": {"y": np.int32(i)}} for i in range(count)]


@given(count=st.integers(0, 20), size=st.integers(1, 8), drop=st.booleans())
def test_the_valid_parts_give_back_the_input_in_order(count, size, drop):
    made = batcher()
    batches = list(made.process(elements(count), batch_size=size, drop_remainder=drop))
    element = {"x": jax.ShapeDtypeStruct((2, 3), np.uint8),
               "in": {"y": jax.ShapeDtypeStruct((), np.int32)}}  # fmt: skip
    spec = made.batch_spec(element, batch_size=size)
    seen = []
    for batch in batches:
        shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), batch)
        assert shapes == spec
        seen += batch["in"]["y"][batch["valid_mask"]].tolist()
        assert (batch["x"][:, 0, 0] == batch["in"]["y"]).all()
    kept = count - count % size if drop else count
    assert seen == list(range(kept))
    assert made.get_operation_stats()["skipped_count"] == count - kept


def test_calling_it_is_processing():
    assert len(list(batcher()(elements(5), batch_size=2))) == 3
    assert list(batcher()([], batch_size=32)) == []


def test_cacheable_does_not_hand_out_a_used_up_iterator():
    made = DefaultBatcher(DefaultBatcherConfig(cacheable=True))
    assert [len(list(made((1, 2, 3), batch_size=2))) for _ in range(2)] == [2, 2]


def test_elements_that_are_no_dicts_stand_under_data():
    [batch] = batcher().process(iter([1, 2, 3]), batch_size=4)
    assert batch["data"].tolist() == [1, 2, 3, 0]
    assert batch["data"].dtype == np.int32


def test_jax_leaves_keys_and_strings_are_kept():
    made = [{"k": jax.random.key(i), "j": jax.numpy.arange(2), "s": "t"} for i in range(3)]
    first, second = batcher().process(made, batch_size=2)
    assert jax.dtypes.issubdtype(first["k"].dtype, jax.dtypes.prng_key)
    assert isinstance(first["j"], jax.Array)
    assert second["s"].tolist() == ["t", None]
    assert second["k"].shape == (2,)


@pytest.mark.parametrize("size", [0, -1, 1.0, None, True])
def test_a_batch_size_that_is_no_positive_int_is_refused_at_once(size):
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().process([], batch_size=size)
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().batch_spec({}, batch_size=size)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"x": np.zeros((2, 2), np.uint8), "in": {"y": np.int32(0)}}, r"element 3\['x'\]"),
        ({"x": np.zeros((2, 3), np.int8), "in": {"y": np.int32(0)}}, r"int8.*the first has.*uint8"),
        ({"x": np.zeros((2, 3), np.uint8)}, "element 3 has the structure"),
    ],
)
def test_an_element_unlike_the_first_is_named(odd, said):
    with pytest.raises(DataError, match=said):
        list(batcher().process([*elements(3), odd], batch_size=2))


def test_an_integer_that_does_not_fit_is_refused():
    with pytest.raises(DataError, match="does not fit int32"):
        list(batcher().process([{"n": 2**40}], batch_size=1))


def test_a_field_called_like_the_mask_is_refused():
    with pytest.raises(DataError, match="'valid_mask'"):
        list(batcher().process([{"valid_mask": 1}], batch_size=1))


def test_it_works_by_name_in_a_pipeline():
    source = {"use": "memory", "data": {"x": np.arange(5)}}
    pipeline = build({"batch_size": 2, "source": source, "batcher": {"use": "default"}})
    assert isinstance(create("batcher", "default"), DefaultBatcher)
    assert [b["x"].tolist() for b in pipeline] == [[0, 1], [2, 3], [4, 0]]
    assert pipeline.config["batcher"] == {"use": "default"}
