import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import build
from feedrace.errors import ConfigError, DataError
from feedrace_batchers import MultiRateBatcher, MultiRateBatcherConfig


def batcher(**options):
    options = {"fields": {"audio": 8, "video": 2}, **options}
    return MultiRateBatcher(MultiRateBatcherConfig(**options))


def record(i, samples, frames):
    return {
        "audio": np.arange(samples, dtype=np.float32) + i,
        "video": np.full((frames, 2, 2), i, np.uint8),
        "label": np.int32(i),
    }


ELEMENT = {
    "audio": jax.ShapeDtypeStruct((None,), np.float32),
    "video": jax.ShapeDtypeStruct((None, 2, 2), np.uint8),
    "label": jax.ShapeDtypeStruct((), np.int32),
}


@given(
    lengths=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=12),
    size=st.integers(1, 5),
    drop=st.booleans(),
)
def test_the_masked_parts_are_the_input_in_order(lengths, size, drop):
    made = batcher()
    elements = [record(i, *both) for i, both in enumerate(lengths)]
    spec = made.batch_spec(ELEMENT, batch_size=size)
    seen = []
    for batch in made.process(elements, batch_size=size, drop_remainder=drop):
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
        assert shapes == spec
        for row in np.flatnonzero(batch["valid_mask"]):
            element = elements[len(seen)]
            assert batch["label"][row] == element["label"]
            for name in ("audio", "video"):
                given_ = batch[name][row][batch[f"{name}_mask"][row]]
                assert given_.tolist() == element[name].tolist()
            seen.append(row)
        assert not batch["audio_mask"][~batch["valid_mask"]].any()
        assert not batch["audio"][~batch["audio_mask"]].any()
    assert len(seen) == len(lengths) - (len(lengths) % size if drop else 0)
    assert made.get_operation_stats()["skipped_count"] == len(lengths) - len(seen)


def test_a_recording_longer_than_its_window_is_an_error_or_cut():
    with pytest.raises(
        DataError, match="element 1: field 'audio' has 9 positions and takes 8; too_long"
    ):
        list(batcher().process([record(0, 1, 1), record(1, 9, 3)], batch_size=2))
    [batch] = batcher(too_long="truncate", pad_value=7).process([record(1, 9, 3)], batch_size=2)
    assert batch["audio"].tolist() == [list(range(1, 9)), [7] * 8]
    assert batch["video"].tolist() == [[[[1, 1], [1, 1]]] * 2, [[[7, 7], [7, 7]]] * 2]
    assert batch["audio_mask"].sum() == 8


def test_a_split_recording_keeps_its_fields_in_step():
    made = batcher(too_long="split")
    elements = [record(0, 20, 5), record(1, 3, 1), record(2, 8, 6)]
    batches = list(made.process(elements, batch_size=4))
    rows = [(b, row) for b in batches for row in np.flatnonzero(b["valid_mask"])]
    assert [int(b["label"][row]) for b, row in rows] == [0, 0, 0, 1, 2, 2, 2]
    for number, element in enumerate(elements):
        mine = [(b, row) for b, row in rows if b["label"][row] == number]
        for name in ("audio", "video"):
            parts = [b[name][row][b[f"{name}_mask"][row]] for b, row in mine]
            assert np.concatenate(parts).tolist() == element[name].tolist()
    assert [b["audio_mask"][row].sum() for b, row in rows] == [8, 8, 4, 3, 8, 0, 0]
    assert [b["video_mask"][row].sum() for b, row in rows] == [2, 2, 1, 1, 2, 2, 2]
    window = {name: np.empty(3, object) for name in ("audio", "video")}
    for i, element in enumerate(elements):
        window["audio"][i], window["video"][i] = element["audio"], element["video"]
    begun = [rows.tolist() for _, rows, _ in made.collate_window(window, batch_size=4)]
    assert begun == [[0, 1], [2]]


def test_it_works_by_name_in_a_pipeline():
    elements = [record(i, i % 9, i % 3) for i in range(7)]
    data = {name: [e[name] for e in elements] for name in ("audio", "video")}
    data["label"] = np.arange(7)
    config = {
        "batch_size": 3,
        "source": {"use": "memory", "data": data},
        "batcher": {"use": "multi-rate", "fields": {"audio": 8, "video": 2}},
    }
    pipeline = build(config)
    batches = list(pipeline)
    assert [b["label"].tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6, 0, 0]]
    assert batches[1]["audio_mask"].sum(axis=1).tolist() == [3, 4, 5]
    assert batches[1]["video_mask"].sum(axis=1).tolist() == [0, 1, 2]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batches[0])
    assert shapes == pipeline.batch_spec()
    assert build(pipeline.config).get_state() == build(config).get_state()
    assert len({step.update for step in pipeline.steps()}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {}}, "fields: {} is not a table"),
        ({"fields": {"audio": -1}}, r"fields\.audio: -1 is not"),
        ({"too_long": "drop"}, "too_long: 'drop' is none of error, truncate, split"),
        ({"window": 0}, "window: 0 is not"),
    ],
)
def test_a_wrong_config_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        batcher(**options)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ({"audio": [0.5]}, "element 0 has no field 'video'"),
        ({"audio": [0.5], "video": [1], "audio_mask": 1}, "'audio_mask', a name"),
        ({"audio": [0.5], "video": [1], "valid_mask": 1}, "'valid_mask'"),
        ({"audio": 0.5, "video": [1]}, "element 0.*is the single value 0.5"),
    ],
)
def test_an_element_that_does_not_fit_is_named(element, message):
    with pytest.raises(DataError, match=message):
        list(batcher().process([element], batch_size=1))


def test_no_batch_size_below_1_and_no_batch_of_nothing():
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().process([], batch_size=0)
    with pytest.raises(ConfigError, match="batch_size"):
        batcher().batch_spec(ELEMENT, batch_size=0)
    assert list(batcher()([], batch_size=2)) == []
