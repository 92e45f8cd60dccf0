import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from feedrace import build, create
from feedrace.errors import ConfigError, DataError
from feedrace_batchers import PackBatcher, PackBatcherConfig


def batcher(**options):
    return PackBatcher(PackBatcherConfig(**{"fields": {"tokens": 10}, "window": 2, **options}))


def tokens_of(number, length):
    return (np.arange(length) + 100 * (number + 1)).astype(np.int32)


def spec_of(batch):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)


def segments(batch, name="tokens"):
    """Yield (row, segment number, data) of the masked parts of a batch."""
    for row in range(len(batch["valid_mask"])):
        ids = batch[f"{name}_segmentation"][row]
        for number in sorted(set(ids[ids > 0].tolist())):
            at = np.flatnonzero(ids == number)
            assert (np.diff(at) == 1).all()
            assert batch[f"{name}_position"][row, at].tolist() == list(range(len(at)))
            assert batch[f"{name}_mask"][row, at].all()
            yield row, number, batch[name][row, at]


RAGGED = jax.ShapeDtypeStruct((None,), np.int32)
lengths_lists = st.lists(st.integers(0, 10), max_size=30)


@given(
    lengths=lengths_lists,
    size=st.integers(1, 4),
    algorithm=st.sampled_from(["first-fit", "best-fit"]),
    drop=st.booleans(),
)
def test_the_segments_are_the_input_in_another_order(lengths, size, algorithm, drop):
    made = batcher(algorithm=algorithm, max_segments=4)
    elements = [{"tokens": tokens_of(i, n), "id": np.int64(i)} for i, n in enumerate(lengths)]
    spec = made.batch_spec(
        {"tokens": RAGGED, "id": jax.ShapeDtypeStruct((), np.int64)}, batch_size=size
    )
    seen, ids = [], []
    for batch in made.process(elements, batch_size=size, drop_remainder=drop):
        assert spec_of(batch) == spec
        padding = batch["tokens_segmentation"] == 0
        assert (batch["tokens_mask"] == ~padding).all()
        assert not batch["tokens"][padding].any()
        assert not batch["tokens_position"][padding].any()
        assert (batch["segment_mask"].any(axis=1) == batch["valid_mask"]).all()
        assert batch["valid_mask"].all() or not drop
        for row, number, data in segments(batch):
            record = int(batch["id"][row, number - 1])
            assert batch["segment_mask"][row, number - 1]
            assert data.tolist() == tokens_of(record, lengths[record]).tolist()
            seen.append(record)
        ids += batch["id"][batch["segment_mask"]].tolist()
    skipped = made.get_operation_stats()["skipped_count"]
    assert len(set(ids)) == len(ids) == len(lengths) - skipped
    assert sorted(seen) == sorted(i for i in ids if lengths[i])
    assert drop or skipped == 0


@given(lengths=lengths_lists, size=st.integers(1, 4))
def test_a_mask_weighted_mean_is_the_mean_over_all_tokens(lengths, size):
    elements = [{"tokens": tokens_of(i, n)} for i, n in enumerate(lengths)]
    total = weight = 0
    for batch in batcher().process(elements, batch_size=size):
        total += int((batch["tokens"] * batch["tokens_mask"]).sum())
        weight += int(batch["tokens_mask"].sum())
    everything = np.concatenate([np.zeros(0, np.int32), *[e["tokens"] for e in elements]])
    assert (total, weight) == (everything.sum(), len(everything))


def test_fields_are_packed_together_as_maxtext_takes_them():
    made = batcher(fields={"inputs": 6, "targets": 4}, pad_value=-1)
    elements = [
        {"inputs": [1, 2, 3], "targets": [4]},
        {"inputs": [5], "targets": [6, 7, 8]},
        {"inputs": [9, 9, 9], "targets": [9, 9, 9, 9]},
    ]
    [batch] = made.process(elements, batch_size=3)
    assert batch["inputs"].tolist() == [[1, 2, 3, 5, -1, -1], [9, 9, 9, -1, -1, -1], [-1] * 6]
    assert batch["inputs_segmentation"][0].tolist() == [1, 1, 1, 2, 0, 0]
    assert batch["inputs_position"][0].tolist() == [0, 1, 2, 0, 0, 0]
    assert batch["targets"].tolist() == [[4, 6, 7, 8], [9, 9, 9, 9], [-1] * 4]
    assert batch["targets_segmentation"][0].tolist() == [1, 2, 2, 2]
    assert batch["targets_position"][0].tolist() == [0, 0, 1, 2]
    assert batch["valid_mask"].tolist() == [True, True, False]
    assert made.fill == pytest.approx(15 / 30)


def test_attention_over_packed_rows_is_attention_over_each_sequence():
    generator = np.random.default_rng(0)
    elements = [{"x": generator.normal(size=(n, 8)).astype(np.float32)} for n in (3, 7, 3, 7)]
    attend = nnx.MultiHeadAttention(2, 8, rngs=nnx.Rngs(0), decode=False)

    @jax.jit
    def attention(x, ids):
        mask = nnx.combine_masks(
            nnx.make_attention_mask(ids, ids, jnp.equal), nnx.make_causal_mask(ids)
        )
        return attend(x, mask=mask)

    alone = {}
    for element in elements:
        x = element["x"][None]
        alone[x[0, 0, 0].item()] = attention(x, np.ones(x.shape[:2], np.int32))[0]
    seen = 0
    for batch in batcher(fields={"x": 10}).process(elements, batch_size=2):
        out = np.asarray(attention(batch["x"], batch["x_segmentation"]))
        for row, number, x in segments(batch, "x"):
            at = batch["x_segmentation"][row] == number
            np.testing.assert_allclose(out[row, at], alone[x[0, 0].item()], atol=1e-5)
            seen += 1
    assert seen == len(elements)


def test_rows_say_which_records_begin_in_a_batch():
    made = batcher(too_long="split")
    window = {"tokens": np.empty(4, object)}
    window["tokens"][:] = [tokens_of(i, n) for i, n in enumerate((25, 4, 10, 0))]
    batches = list(made.collate_window(window, batch_size=2))
    assert made.window_size(2) == 4
    assert sorted(np.concatenate([rows for _, rows, _ in batches]).tolist()) == [0, 1, 2, 3]
    for batch, rows, _ in batches:
        begin = {int(data[0]) // 100 - 1 for *_, data in segments(batch) if data[0] % 100 == 0}
        assert begin == set(rows.tolist()) - {3}
    tokens = np.concatenate([batch["tokens"][batch["tokens_mask"]] for batch, *_ in batches])
    assert sorted(tokens) == sorted(np.concatenate(list(window["tokens"])))


def test_a_record_longer_than_a_row_is_an_error_or_cut():
    long = [{"tokens": tokens_of(0, 3)}, {"tokens": tokens_of(1, 12)}]
    with pytest.raises(
        DataError, match="element 1: field 'tokens' has 12 positions and takes 10; too_long"
    ):
        list(batcher().process(long, batch_size=2))
    [cut] = batcher(too_long="truncate").process(long, batch_size=2)
    assert {len(data) for *_, data in segments(cut)} == {3, 10}


def test_empty_sequences_are_records_too():
    made = batcher(max_segments=2)
    [batch] = made.process([{"tokens": np.zeros(0, np.int32), "id": 5}], batch_size=1)
    assert batch["valid_mask"].tolist() == [True]
    assert batch["id"].tolist() == [[5, 0]]
    assert made.fill == 0
    assert list(batcher()([], batch_size=4)) == []
    assert list(batcher().collate_window({"tokens": np.ones((0, 3))}, batch_size=4)) == []


def test_keys_and_strings_have_a_place_for_each_segment():
    made = batcher(max_segments=2)
    elements = [{"tokens": [1] * n, "key": jax.random.key(n), "name": f"r{n}"} for n in (9, 4, 3)]
    spec = made.batch_spec(
        {
            "tokens": RAGGED,
            "key": jax.ShapeDtypeStruct((), jax.random.key(0).dtype),
            "name": jax.ShapeDtypeStruct((), object),
        },
        batch_size=2,
    )
    [batch] = made.process([{**e, "tokens": np.int32(e["tokens"])} for e in elements], batch_size=2)
    assert spec_of(batch) == spec
    assert batch["name"].tolist() == [["r9", None], ["r4", "r3"]]
    assert (batch["key"][1, 1] == jax.random.key(3)).all()


def test_packing_in_a_window_leaves_little_padding():
    lengths = np.clip(np.random.default_rng(0).lognormal(5.5, 1, 4096), 1, 2048).astype(int)
    made = batcher(fields={"tokens": 2048}, window=None)
    assert [made.window_size(n) for n in (1, 8, 256, 4096)] == [1024, 8192, 2**17, 2**19]
    for _ in made.process([{"tokens": np.zeros(n, np.int32)} for n in lengths], batch_size=8):
        pass
    assert made.fill > 0.99


def test_it_works_by_name_and_is_compiled_once():
    data = {"tokens": [tokens_of(i, i % 9) for i in range(40)]}
    config = {
        "batch_size": 2,
        "source": {"use": "memory", "data": data, "shuffle": True},
        "batcher": {"use": "pack", "fields": {"tokens": 16}, "window": 5},
    }
    assert isinstance(create("batcher", "pack", fields={"tokens": 16}), PackBatcher)
    pipeline = build(config)
    step = jax.jit(lambda batch: (batch["tokens"] * batch["tokens_mask"]).sum())
    total = sum(int(step(batch)) for batch in pipeline)
    assert total == sum(x.sum() for x in data["tokens"])
    assert step._cache_size() == 1
    assert pipeline.config["batcher"] == config["batcher"]
    assert build(pipeline.config).get_state() == build(config).get_state()
    assert pipeline.batch_spec() == spec_of(next(iter(build(config))))
    assert hash(pipeline.components()["batcher"][1].config) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {}}, "fields: {} is not a table of field names and lengths"),
        ({"fields": ["tokens"]}, "fields: .* is not a table"),
        ({"fields": {"tokens": 0}}, r"fields\.tokens: 0 is not an int of 1 or more"),
        (
            {"fields": {"valid": 3}},
            "fields: the mask of 'valid' would be valid_mask, which",
        ),
        ({"fields": {"": 3}}, "fields: {'': 3} is not a table of field names"),
        ({"algorithm": "worst-fit"}, "algorithm: 'worst-fit' is none of"),
        ({"window": 0}, "window: 0 is not"),
        ({"window": 1.5}, "window: 1.5 is not"),
        ({"max_segments": 0}, "max_segments: 0 is not"),
        ({"too_long": "drop"}, "too_long: 'drop' is none of"),
    ],
)
def test_a_wrong_config_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        batcher(**options)


@pytest.mark.parametrize(
    ("options", "element", "message"),
    [
        ({}, {"tokens": [1], "id": 1}, "the fields id have one entry for each record"),
        ({}, {"id": 1}, "element 0 has no field 'tokens'"),
        ({}, {"tokens": [1], "tokens_position": 1}, "'tokens_position', a name"),
        ({"max_segments": 1}, {"tokens": [1], "segment_mask": 1}, "'segment_mask', a name"),
        (
            {"pad_value": 0.5},
            {"tokens": [1]},
            "pad_value is 0.5, which field 'tokens' cannot hold: it arrives as int32",
        ),
        (
            {"pad_value": 1e9},
            {"tokens": np.ones(2, np.float16)},
            "pad_value is 1000000000.0",
        ),
        ({"pad_value": -1}, {"tokens": np.ones(2, np.uint8)}, "pad_value is -1, which field"),
    ],
)
def test_records_that_do_not_fit_are_named(options, element, message):
    with pytest.raises(DataError, match=message):
        list(batcher(**options).process([element], batch_size=1))


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ([RAGGED], "not a dict of fields"),
        ({"id": RAGGED}, "there is no field 'tokens'; there are id"),
        ({"tokens": jax.ShapeDtypeStruct((), np.int32)}, "not a sequence of numbers"),
        (
            {"tokens": jax.ShapeDtypeStruct((None, None), np.int32)},
            "an axis after the first",
        ),
        ({"tokens": RAGGED, "id": RAGGED}, "field 'id' differs in length"),
        ({"tokens": RAGGED, "tokens_mask": RAGGED}, "'tokens_mask', a name"),
    ],
)
def test_a_spec_that_does_not_fit_is_named(element, message):
    with pytest.raises(DataError, match=message):
        batcher().batch_spec(element, batch_size=2)


@pytest.mark.parametrize("size", [0, -1, 1.0, None, True])
def test_a_batch_size_that_is_no_positive_int_is_refused_at_once(size):
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().process([], batch_size=size)
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().batch_spec({"tokens": RAGGED}, batch_size=size)
