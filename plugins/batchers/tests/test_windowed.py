"""What all windowed batchers have in common: keys of rows, errors that name a record, odd input."""

import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import create
from feedrace.errors import DataError, RecordError

KINDS = {
    "bucket": {"fields": ["x", "y"], "boundaries": [2, 4]},
    "pack": {"fields": {"x": 4, "y": 3}, "max_segments": 3},
    "multi-rate": {"fields": {"x": 4, "y": 3}, "window": 4},
}


def batcher(kind, **options):
    return create("batcher", kind, **{**KINDS[kind], **options})


def window_of(lengths):
    """Return records whose values are their own position in the window, times 100, and counted."""
    window = {"x": np.empty(len(lengths), object), "y": np.empty(len(lengths), object)}
    for i, (x, y) in enumerate(lengths):
        window["x"][i] = np.arange(x, dtype=np.int32) + 100 * i
        window["y"][i] = np.arange(y, dtype=np.int32) + 100 * i
    window["id"] = np.arange(len(lengths), dtype=np.int32)
    return window


@pytest.mark.parametrize("kind", KINDS)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=16),
    size=st.integers(1, 5),
    split=st.booleans(),
)
def test_no_two_rows_of_a_window_have_one_key(kind, lengths, size, split):
    window = window_of(lengths)
    made = batcher(kind, too_long="split" if split else "truncate")
    keys, begun = [], []
    for batch, rows, row_keys in made.collate_window(window, batch_size=size):
        assert row_keys.shape == (size,)
        assert row_keys.dtype == np.int64
        mask = batch["valid_mask"]
        first = batch["id"] if batch["id"].ndim == 1 else batch["id"][:, 0]
        assert (row_keys[mask] % len(lengths)).tolist() == first[mask].tolist()
        keys += row_keys[mask].tolist()
        begun += rows.tolist()
    assert len(set(keys)) == len(keys)
    assert sorted(begun) == list(range(len(lengths)))
    if not split:
        assert max(keys) < len(lengths)
    if kind != "pack":  # one row for each piece; the first piece of record i has the key i
        assert set(range(len(lengths))) <= set(keys)


@pytest.mark.parametrize("kind", ["bucket", "multi-rate"])
@given(lengths=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=9))
def test_the_key_of_a_record_is_the_same_for_every_batch_size(kind, lengths):
    for size in (1, 2, 5):
        for batch, _, keys in batcher(kind).collate_window(window_of(lengths), batch_size=size):
            assert keys[batch["valid_mask"]].tolist() == batch["id"][batch["valid_mask"]].tolist()


def elements(count, odd, at):
    made = [{"x": np.ones(2, np.int64), "y": np.ones(2, np.int64), "id": i} for i in range(count)]
    made[at] = {**made[at], **odd}
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.ones(5, np.int64), "field 'x' has 5 positions and takes 4; too_long"),
        (np.array([1, 2**40]), "field 'x' holds 1099511627776, which does not fit int32"),
    ],
)
def test_a_bad_record_is_named(kind, odd, message):
    many = elements(11, {"x": odd}, 9)
    with pytest.raises(DataError, match=f"^element 9: {message}"):
        list(batcher(kind, window=2).process(many, batch_size=2))
    window = {"x": np.empty(4, object), "y": np.ones((4, 2)), "id": np.arange(4)}
    window["x"][:] = [e["x"] for e in many[6:10]]
    with pytest.raises(DataError, match=f"^record 3 of the window: {message}") as caught:
        list(batcher(kind).collate_window(window, batch_size=2))
    assert caught.value.row == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.ones(2), r"field 'x' is float64\[any\]; that of record 0 has int64\[any\]"),
        (np.int64(3), "field 'x' is the single value"),
        (np.zeros(2, [("a", "i4")]), r"field 'x' has the fields \('a',\); make them fields"),
        (np.ma.array([1, 2], mask=[0, 1]), "field 'x' is a masked array"),
        (np.zeros((1, 2)).view(np.matrix), "field 'x' is a np.matrix"),
        (np.array(["2026-11-20"], "M8[D]"), r"field 'x' is of dtype datetime64\[D\], which JAX"),
    ],
)
def test_a_record_of_a_window_that_is_unlike_the_first_is_named(kind, odd, message):
    window = {"x": np.empty(3, object), "y": np.ones((3, 2)), "id": np.arange(3)}
    for i, x in enumerate((np.ones(2, np.int64), odd, np.ones(1, np.int64))):
        window["x"][i] = x
    with pytest.raises(DataError, match=f"record 1 of the window: {message}") as caught:
        list(batcher(kind).collate_window(window, batch_size=2))
    assert caught.value.row == 1
    with pytest.raises(DataError, match=r"element 1\['x'\] (is|has)"):
        list(batcher(kind).process(elements(3, {"x": odd}, 1), batch_size=2))
    with pytest.raises(DataError, match=r"element 0\['x'\] (is|has)"):
        bad = {"x": odd} if getattr(odd, "dtype", None) != np.float64 else {"x": "abc"}
        list(batcher(kind).process(elements(3, bad, 0), batch_size=2))


@pytest.mark.parametrize("kind", KINDS)
def test_another_field_that_does_not_fit_names_its_record(kind):
    window = {"x": np.ones((3, 2)), "y": np.ones((3, 2)), "id": np.array([1, 2, 2**40])}
    with pytest.raises(DataError, match="record 2 of the window: field 'id' holds") as caught:
        list(batcher(kind).collate_window(window, batch_size=2))
    assert caught.value.row == 2


def test_an_error_about_a_record_goes_to_another_process_whole():
    error = pickle.loads(pickle.dumps(RecordError(3, "is odd")))
    assert (str(error), error.row) == ("record 3 of the window: is odd", 3)


GROUP = """
import pickle, sys
import numpy as np
from feedrace_batchers.config import *
from feedrace_batchers.grouping import *
window, fields = pickle.load(sys.stdin.buffer)
def grouped(function, config, *boundaries):
    return list(function(window, config, *boundaries, batch_size=2, wide=False))
made = {
    "bucket": grouped(bucket_window, BucketBatcherConfig(**fields["bucket"]), (2, 4)),
    "pack": grouped(pack_window, PackBatcherConfig(**fields["pack"])),
    "multi-rate": grouped(cut_window, MultiRateBatcherConfig(**fields["multi-rate"])),
}
assert not {"jax", "flax"} & sys.modules.keys()
pickle.dump(made, sys.stdout.buffer)
"""


def test_windows_are_grouped_without_jax():
    window = window_of([(2, 1), (4, 3), (1, 1), (3, 0), (0, 2)])
    done = subprocess.run([sys.executable, "-c", GROUP], input=pickle.dumps((window, KINDS)),
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    for kind, grouped in pickle.loads(done.stdout).items():
        wanted = list(batcher(kind).collate_window(window, batch_size=2))
        assert len(grouped) == len(wanted) > 0
        for one, other in zip(grouped, wanted, strict=True):
            assert jax.tree.structure(one) == jax.tree.structure(other)
            assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, other))


@pytest.mark.parametrize("kind", ["bucket", "multi-rate"])
def test_keys_beside_sequences_are_padded(kind):
    keys = [jax.random.key(i) for i in range(3)]
    given_ = [{"x": np.ones(2), "y": np.ones(1), "key": key} for key in keys]
    batches = list(batcher(kind).process(given_, batch_size=2))
    assert sum(int(batch["valid_mask"].sum()) for batch in batches) == 3 < 2 * len(batches)
    for batch in batches:
        assert not jax.random.key_data(batch["key"])[~batch["valid_mask"]].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("empty", [None, {}, [], {"a": None}])
def test_a_field_without_a_leaf_is_passed_on(kind, empty):
    options = {"max_segments": None} if kind == "pack" else {}
    made = batcher(kind, **options)
    given_ = [{"x": np.ones(n, np.int32), "y": np.ones(1), "meta": empty} for n in (2, 1, 3)]
    ragged = jax.ShapeDtypeStruct((None,), np.float32)
    spec = made.batch_spec({"x": ragged, "y": ragged, "meta": empty}, batch_size=2)
    batches = list(made.process(given_, batch_size=2))
    assert batches
    for batch in batches:
        assert batch["meta"] == empty
        assert jax.tree.structure(batch) == jax.tree.structure(spec)
        assert "valid_mask" in batch


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_without_any_dtype_is_refused(kind):
    with pytest.raises(
        DataError, match=r"element 0\['x'\] is an empty list, .* array with a dtype"
    ):
        list(batcher(kind).process([{"x": [], "y": [1]}] * 3, batch_size=1))
    first = {"x": np.zeros(0, np.int32), "y": [1]}
    batches = batcher(kind, window=1).process([first, *[{"x": [], "y": [1]}] * 2], batch_size=1)
    assert {batch["x"].dtype for batch in batches} == {np.dtype(np.int32)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_may_be_larger_than_all_data(kind):
    made = batcher(kind, window=2**63 - 1)
    assert len(list(made.process(elements(4, {}, 0), batch_size=1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.float64, 1e300), (np.float32, 2**200), (np.int64, 2**40), (np.int32, 2**70), (bool, 2)],
)
def test_padding_that_does_not_arrive_as_it_is_is_refused(kind, dtype, value):
    made = batcher(kind, pad_value=value)
    given_ = [{"x": np.ones(1, dtype), "y": np.ones(1, dtype), "id": 0}]
    with pytest.raises(DataError, match=r"pad_value is .* cannot hold: it arrives as"):
        list(made.process(given_, batch_size=1))


OPEN = """
import feedrace, numpy as np
data = {"x": [np.arange(n % 7 + 1, dtype=np.int32) for n in range(100)]}
pipeline = feedrace.Pipeline(
    source=data, batcher={"use": "pack", "fields": {"x": 16}}, batch_size=4, workers=0, prefetch=0
)
steps = iter(pipeline)
next(steps)
"""


def test_a_program_may_end_in_the_middle_of_a_window():
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
