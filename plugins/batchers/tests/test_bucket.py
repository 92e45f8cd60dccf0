import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import build, create
from feedrace.errors import ConfigError, DataError
from feedrace_batchers import BucketBatcher, BucketBatcherConfig


def batcher(**options):
    options = {"fields": ("tokens",), "boundaries": (3, 6, 10), "window": 3, **options}
    return BucketBatcher(BucketBatcherConfig(**options))


def records(lengths):
    """Return records whose tokens say which record they are of, and where in it they stand."""
    return [
        {"tokens": np.arange(length) + 100 * (i + 1), "id": i, "in": {"name": f"r{i}"}}
        for i, length in enumerate(lengths)
    ]


def spec_of(batch):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)


ELEMENT = {
    "tokens": jax.ShapeDtypeStruct((None,), np.int64),
    "id": jax.ShapeDtypeStruct((), np.int64),
    "in": {"name": jax.ShapeDtypeStruct((), object)},
}

lengths_lists = st.lists(st.integers(0, 10), max_size=40)


@given(lengths=lengths_lists, size=st.integers(1, 5), drop=st.booleans())
def test_the_masked_parts_are_the_input_in_another_order(lengths, size, drop):
    made = batcher()
    batches = list(made.process(records(lengths), batch_size=size, drop_remainder=drop))
    allowed = made.batch_specs(ELEMENT, batch_size=size)
    seen = []
    for batch in batches:
        assert spec_of(batch) in allowed
        if drop:
            assert batch["valid_mask"].all()
        for row in np.flatnonzero(batch["valid_mask"]):
            number = int(batch["id"][row])
            tokens = batch["tokens"][row][batch["tokens_mask"][row]]
            assert tokens.tolist() == (np.arange(lengths[number]) + 100 * (number + 1)).tolist()
            assert batch["in"]["name"][row] == f"r{number}"
            seen.append(number)
        assert not batch["tokens_mask"][~batch["valid_mask"]].any()
        assert not batch["tokens"][~batch["tokens_mask"]].any()
    assert len(set(seen)) == len(seen)
    skipped = made.get_operation_stats()["skipped_count"]
    assert len(seen) == len(lengths) - skipped
    assert drop or skipped == 0
    # Only the end may lack rows: every window is whole batches.
    assert skipped == (len(lengths) % size if drop else 0)


@given(lengths=lengths_lists, size=st.integers(1, 5))
def test_a_mask_weighted_mean_is_the_mean_of_the_records(lengths, size):
    values = [float(sum(r["tokens"])) for r in records(lengths)]
    total = weight = 0.0
    for batch in batcher().process(records(lengths), batch_size=size):
        sums = (batch["tokens"] * batch["tokens_mask"]).sum(axis=1, dtype=float)
        total += float((sums * batch["valid_mask"]).sum())
        weight += float(batch["valid_mask"].sum())
    assert weight == len(lengths)
    if lengths:
        assert total / weight == pytest.approx(np.mean(values))


def test_rows_say_which_records_a_batch_holds():
    made = batcher()
    window = {"tokens": np.empty(7, object), "id": np.arange(7)}
    window["tokens"][:] = [np.arange(n, dtype=np.int32) for n in (9, 1, 5, 2, 8, 3, 4)]
    batches = list(made.collate_window(window, batch_size=3))
    assert made.window_size(3) == 9
    assert [rows.tolist() for _, rows, _ in batches] == [[1], [2, 3, 5], [0, 4, 6]]
    for batch, rows, keys in batches:
        assert keys[batch["valid_mask"]].tolist() == rows.tolist()
        assert rows.dtype == np.int64
        assert batch["id"][batch["valid_mask"]].tolist() == rows.tolist()
    assert sorted(np.concatenate([rows for _, rows, _ in batches]).tolist()) == list(range(7))


def test_only_the_shortest_records_of_a_window_make_a_short_batch():
    lengths = [9, 1, 5, 2, 8, 3, 4]
    batches = list(batcher().process(records(lengths), batch_size=3))
    shapes = {batch["tokens"].shape[1]: batch["valid_mask"].sum() for batch in batches}
    assert shapes == {3: 1, 6: 3, 10: 3}


def test_equal_records_in_arrays_are_sequences_too():
    made = batcher()
    [(batch, rows, _)] = made.collate_window({"tokens": np.ones((2, 5, 4))}, batch_size=2)
    assert batch["tokens"].shape == (2, 6, 4)
    assert batch["tokens"].dtype == np.float32
    spec = made.batch_spec({"tokens": jax.ShapeDtypeStruct((5, 4), np.float64)}, batch_size=2)
    assert spec["tokens"] == jax.ShapeDtypeStruct((2, 10, 4), np.float32)
    assert rows.tolist() == [0, 1]


def test_several_sequences_go_by_the_longest():
    made = batcher(fields=("a", "b"), pad_value=-1)
    [batch] = made.process([{"a": [1], "b": [1, 2, 3, 4]}, {"a": [], "b": [5]}], batch_size=2)
    assert batch["a"].tolist() == [[1, -1, -1, -1, -1, -1], [-1] * 6]
    assert batch["b"].tolist() == [[1, 2, 3, 4, -1, -1], [5, -1, -1, -1, -1, -1]]
    assert batch["a_mask"].sum() == 1
    assert batch["b_mask"].sum() == 5
    assert made.fill == pytest.approx(6 / 24)
    made.reset_operation_stats()
    assert made.fill is None


def test_an_empty_input_gives_no_batch():
    assert list(batcher()([], batch_size=4)) == []
    assert list(batcher().collate_window({"tokens": np.ones((0, 3))}, batch_size=4)) == []


def test_a_record_longer_than_the_last_boundary_is_an_error_cut_or_split():
    long = [{"tokens": np.arange(23, dtype=np.int32)}, {"tokens": np.arange(2, dtype=np.int32)}]
    with pytest.raises(
        DataError, match="element 0: field 'tokens' has 23 positions and takes 10; too_long"
    ):
        list(batcher().process(long, batch_size=2))
    [cut] = batcher(too_long="truncate").process(long, batch_size=2)
    assert cut["tokens"][0].tolist() == list(range(10))
    made = batcher(too_long="split")
    split = list(made.process(long, batch_size=2))
    tokens = np.concatenate([b["tokens"][b["tokens_mask"]] for b in split])
    assert sorted(tokens.tolist()) == sorted([*range(23), 0, 1])
    window = {"tokens": np.empty(2, object)}
    window["tokens"][:] = [e["tokens"] for e in long]
    rows = [rows.tolist() for _, rows, _ in made.collate_window(window, batch_size=2)]
    assert sorted(itertools.chain(*rows)) == [0, 1]


def test_it_works_by_name_and_says_what_it_chose():
    sample = [1, 1, 2, 9, 9, 30]
    made = create("batcher", "bucket", fields=["x"], num_buckets=3, sample_lengths=sample)
    assert made.boundaries == (2, 9, 30)
    config = BucketBatcherConfig(fields=["x"], num_buckets=2, sample_lengths=np.array(sample))
    assert BucketBatcher(config).boundaries == (9, 30)
    for boundaries in (np.array([4, 8]), (np.int64(4), np.int32(8))):
        assert BucketBatcherConfig(fields=["x"], boundaries=boundaries).boundaries == (4, 8)
    data = {"x": [np.arange(n) for n in (1, 2, 30, 9, 9)], "id": np.arange(5)}
    config = {
        "batch_size": 2,
        "source": {"use": "memory", "data": data},
        "batcher": {"use": "bucket", "fields": ["x"], "boundaries": [2, 9, 30]},
    }
    pipeline = build(config)
    seen = [(b["x"].shape, b["id"][b["valid_mask"]].tolist()) for b in pipeline]
    assert seen == [((2, 2), [0]), ((2, 9), [1, 3]), ((2, 30), [2, 4])]
    assert build(pipeline.config).get_state() == build(config).get_state()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "boundaries: missing; give them, or num_buckets"),
        ({"boundaries": (3, 3)}, "boundaries: .* do not increase"),
        ({"boundaries": (0, 3)}, r"boundaries\[0\]: 0 is not an int of 1 or more"),
        ({"boundaries": ()}, "boundaries: .* is not a list of lengths"),
        ({"boundaries": (3,), "num_buckets": 2}, "num_buckets: is given, but boundaries are"),
        ({"num_buckets": 2}, "sample_lengths: missing"),
        ({"num_buckets": 0, "sample_lengths": (3,)}, "num_buckets: 0 is not an int of 1 or more"),
        ({"num_buckets": 1, "sample_lengths": (3, -1)}, r"sample_lengths\[1\]: -1"),
        ({"boundaries": (3,), "fields": ()}, "fields: .* is not a list of field names"),
        ({"boundaries": (3,), "fields": ("a", "a")}, "fields: .* names a field twice"),
        ({"boundaries": (3,), "fields": "tokens"}, "fields: 'tokens' is not a list"),
        ({"boundaries": (3,), "too_long": "cut"}, "too_long: 'cut' is none of"),
        ({"boundaries": (3,), "window": 0}, "window: 0 is not"),
        ({"boundaries": (3,), "pad_value": float("nan")}, "pad_value: nan"),
        ({"boundaries": (3,), "pad_value": 10**400}, r"pad_value: 10+ ... 0+ is not a finite"),
    ],
)
def test_a_wrong_config_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        BucketBatcherConfig(**{"fields": ("tokens",), **options})


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ([1, 2], "element 0 is list, not a dict with the fields tokens"),
        ({"other": [1]}, "element 0 has no field 'tokens'; it has other"),
        ({"tokens": 7}, r"element 0\['tokens'\] is the single value 7"),
        ({"tokens": "abc"}, r"element 0\['tokens'\] is 'abc', which is not a sequence of numbers"),
        ({"tokens": [1, [2]]}, r"element 0\['tokens'\] is not an array"),
        ({"tokens": [2**70]}, "not a sequence of numbers that fit"),
        ({"tokens": [2**40]}, "field 'tokens' holds 1099511627776, which does not fit int32"),
        ({"tokens": [1], "tokens_mask": 1}, "'tokens_mask', a name that the batcher gives"),
        ({"tokens": [1], "valid_mask": 1}, "'valid_mask'"),
        ({"tokens": jax.random.split(jax.random.key(0), 2)}, "only numbers can be padded"),
    ],
)
def test_an_element_that_does_not_fit_is_named(element, message):
    with pytest.raises(DataError, match=message):
        list(batcher().process([element], batch_size=1))


def test_an_element_unlike_the_first_is_named():
    first = {"tokens": np.zeros((3, 2), np.float32), "id": 1}
    for odd, message in (
        ({"tokens": np.zeros((3, 2)), "id": 1}, r"element 2\['tokens'\] is float64\[any, 2\]"),
        ({"tokens": np.zeros((3, 3), np.float32), "id": 1}, r"\['tokens'\] is float32\[any, 3\]"),
        ({"tokens": first["tokens"], "id": 1.0}, r"element 2\['id'\] is float64\[\]; the first"),
        ({"tokens": first["tokens"]}, r"element 2 has no \['id'\], which the first has"),
    ):
        with pytest.raises(DataError, match=message):
            list(batcher().process([first, first, odd], batch_size=1))


@pytest.mark.parametrize("name", ["valid_mask", "tokens_mask"])
def test_a_window_with_a_name_of_the_batch_is_refused(name):
    made = batcher(fields=("tokens", name) if name == "valid_mask" else ("tokens",))
    window = {"tokens": np.ones((2, 3)), name: np.ones((2, 3))}
    with pytest.raises(DataError, match=f"a field is called '{name}'"):
        list(made.collate_window(window, batch_size=2))


def test_the_other_fields_of_a_window_arrive_as_their_spec_says():
    window = {"tokens": np.ones((2, 3)), "id": np.arange(2)}
    [(batch, _, _)] = batcher().collate_window(window, batch_size=2)
    assert batch["id"].dtype == np.int32
    with pytest.raises(DataError, match="field 'id' holds 1099511627776, which does not fit"):
        list(batcher().collate_window({**window, "id": window["id"] + 2**40}, batch_size=2))


def test_fields_of_different_numbers_of_records_are_refused():
    with pytest.raises(DataError, match="one leading axis length"):
        list(batcher().collate_window({"tokens": np.ones((2, 3)), "id": np.ones(3)}, batch_size=2))


def test_an_empty_list_takes_the_dtype_of_the_others():
    [batch] = batcher().process([{"tokens": []}, {"tokens": [5]}], batch_size=2)
    assert batch["tokens"].dtype == np.int32


def test_a_field_that_differs_in_length_has_to_be_named():
    window = {"tokens": np.empty(2, object), "labels": np.empty(2, object)}
    for column in window.values():
        column[:] = [np.arange(1), np.arange(3)]
    with pytest.raises(DataError, match=r"field 'labels' differs in length .* name it there"):
        list(batcher().collate_window(window, batch_size=2))
    ragged = jax.ShapeDtypeStruct((None,), np.int32)
    with pytest.raises(DataError, match="field 'labels' differs in length"):
        batcher().batch_spec({"tokens": ragged, "labels": ragged}, batch_size=2)


@pytest.mark.parametrize("size", [0, -1, 1.0, None, True])
def test_a_batch_size_that_is_no_positive_int_is_refused_at_once(size):
    for call in (
        lambda: batcher().process([], batch_size=size),
        lambda: batcher().batch_spec(ELEMENT, batch_size=size),
        lambda: batcher().window_size(size),
    ):
        with pytest.raises(ConfigError, match="batch_size"):
            call()


def test_a_step_is_compiled_once_a_boundary_at_most():
    step = jax.jit(lambda batch: (batch["tokens"] * batch["tokens_mask"]).sum())
    generator = np.random.default_rng(0)
    many = [{"tokens": np.arange(n)} for n in generator.integers(0, 11, 200)]
    for batch in batcher().process(many, batch_size=4):
        step(batch)
    assert step._cache_size() == 3
