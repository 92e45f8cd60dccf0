"""Every kind of feature, by every decoder, against what TFDS itself gives."""

import importlib.util

import jax
import numpy as np
import pytest

from feedrace import create
from feedrace.errors import ConfigError, DataError

RECORDS = 60
PADDED = {"tokens": 8, "words": 3, "objects": 4, "ragged": [5, 5], "any_size": [6, 4]}
DECODERS = ["numpy"] + ["tensorflow"] * (importlib.util.find_spec("tensorflow") is not None)


def streaming(folder, split="train", **fields):
    return create("source", "tfds-streaming", name="everything", split=split, data_dir=folder,
                  **fields)  # fmt: skip


@pytest.fixture(scope="module")
def expected(everything):
    """What `tfds.as_numpy` gives, by record id."""
    tf = pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(f"{everything['tfrecord']}/everything/1.0.0")
    records = tfds.as_numpy(builder.as_dataset(split="train"))
    return {
        record["id"]: jax.tree.map(
            lambda leaf: leaf,
            {k: v.to_list() if isinstance(v, tf.RaggedTensor) else v for k, v in record.items()},
        )
        for record in records
    }


def check(got, wanted, row, padded=False):
    for key, value in wanted.items():
        if isinstance(value, dict):
            check(got[key], value, row, padded)
            continue
        mine = got[key][row]
        if isinstance(value, list):  # a ragged tensor
            assert got[f"{key}_length"][row, 0] == len(value)
            for line, numbers in zip(mine, value, strict=False):
                assert line[: len(numbers)].tolist() == numbers
                assert not line[len(numbers) :].any()
            continue
        value = np.asarray(value)
        if padded and f"{key}_length" in got:
            length = np.atleast_1d(got[f"{key}_length"][row])
            inside = tuple(slice(n) for n in length)
            assert tuple(length) == value.shape[: len(length)]
            assert not np.delete(mine, np.s_[: length[0]], axis=0).any()
            mine = mine[inside]
        assert np.shape(mine) == value.shape
        assert (np.asarray(mine) == value).all()


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("fields", [{"exclude_keys": {"ragged"}}, {"pad_to": PADDED}])
def test_values_are_those_of_tfds(everything, expected, file_format, decoder, fields):
    source = streaming(everything[file_format], decoder=decoder, **fields)
    got = source.fetch(np.arange(RECORDS)[::-1])
    seen = set()
    for row in range(RECORDS):
        wanted = dict(expected[got["id"][row]])
        if "exclude_keys" in fields:
            del wanted["ragged"]
        assert wanted.keys() <= got.keys()
        check(got, wanted, row, padded="pad_to" in fields)
        seen.add(got["id"][row])
    assert len(seen) == RECORDS
    assert ("without" in source.details()[1]) == (decoder == "numpy")


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_spec_is_that_of_what_comes(everything, decoder):
    source = streaming(everything["tfrecord"], decoder=decoder, exclude_keys=["ragged"])
    spec, got = source.element_spec(), source.fetch([3, 1])
    assert jax.tree.structure(spec) == jax.tree.structure(got)
    for leaf, array in zip(jax.tree.leaves(spec), jax.tree.leaves(got), strict=True):
        if None in leaf.shape:
            assert (array.dtype, array.shape) == (object, (2,))
            for row in array:
                assert row.dtype == leaf.dtype
                assert all(w in (None, n) for w, n in zip(leaf.shape, row.shape, strict=True))
        else:
            assert (array.dtype, array.shape[1:]) == (leaf.dtype, leaf.shape)
    assert spec["objects"]["bbox"].shape == (None, 4)
    element = next(iter(source))
    assert element["tokens"].dtype == np.int32
    assert isinstance(element["id"], bytes)


def test_eager_holds_padded_features_on_the_device_and_strings_on_the_host(everything):
    fields = {"name": "everything", "split": "train", "data_dir": everything["tfrecord"]}
    source = create("source", "tfds-eager", **fields, pad_to=PADDED)
    streamed = streaming(everything["tfrecord"], pad_to=PADDED)
    assert jax.tree.map(str, source.element_spec()) == jax.tree.map(str, streamed.element_spec())
    one, other = source.fetch(np.arange(RECORDS)), streamed.fetch(np.arange(RECORDS))
    for (path, mine), theirs in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        assert (np.asarray(mine) == np.asarray(theirs)).all(), path
    assert isinstance(one["tokens"], jax.Array)
    assert isinstance(one["objects"]["bbox"], jax.Array)
    assert isinstance(one["id"], np.ndarray)


def test_eager_holds_features_of_varying_shape_on_the_host(everything):
    fields = {"name": "everything", "split": "train", "data_dir": everything["tfrecord"]}
    source = create("source", "tfds-eager", **fields, exclude_keys=["ragged"])
    streamed = streaming(everything["tfrecord"], exclude_keys=["ragged"])
    assert not source.on_device
    one, other = source.fetch(np.arange(RECORDS)), streamed.fetch(np.arange(RECORDS))
    for mine, theirs in zip(one["any_size"], other["any_size"], strict=True):
        assert (mine == theirs).all()
    with pytest.raises(DataError, match="'any_size' holds strings or arrays of varying shape"):
        source.collect_to_array("any_size")


def test_supervised_keys_that_are_no_image_and_label_keep_their_names(everything):
    source = streaming(everything["tfrecord"], as_supervised=True)
    assert set(source.fetch([0])) == {"tokens", "share"}


@pytest.mark.parametrize(
    ("pad_to", "message"),
    [
        ({"tokns": 3}, "pad_to.tokns: is no feature whose shape varies; did you mean 'tokens'"),
        ({"label": 3}, "pad_to.label: is no feature whose shape varies"),
        ({"any_size": [1, 2, 3]}, r"pad_to.any_size: \[1, 2, 3\] has 3 lengths; .* needs 2"),
        ({"tokens": 0}, "pad_to.tokens: 0 is neither a length"),
        ({"tokens": "3"}, r"pad_to.*expected 'int"),
    ],
)
def test_a_wrong_padding_is_named(everything, pad_to, message):
    with pytest.raises(ConfigError, match=message):
        streaming(everything["tfrecord"], pad_to=pad_to, exclude_keys=["ragged"])


def test_a_record_longer_than_its_padding_is_refused(everything):
    source = streaming(everything["tfrecord"], pad_to={"tokens": 2}, include_keys=["tokens"])
    with pytest.raises(DataError, match=r"tokens has shape \(\d,\), more than pad_to leaves"):
        source.fetch(np.arange(RECORDS))


def test_lists_of_lists_need_their_lengths(everything):
    with pytest.raises(DataError, match=r"'ragged' of shape \(None, None\) holds lists of lists"):
        streaming(everything["tfrecord"])


def test_what_is_left_out_is_never_decoded(everything, monkeypatch):
    from feedrace_tfds import numpy_decoder

    def fail(*arguments):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(numpy_decoder, "image_decoder", fail)
    got = streaming(everything["tfrecord"], include_keys=["id", "number"]).fetch([0, 1])
    assert set(got) == {"id", "number"}
