import gzip

import numpy as np
import pytest

from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace.storage.example_proto import example_class
from feedrace_testing.sample_files import example_of, write_tfrecord


def records_of(path, **fields):
    return create("source", "tfrecord", path=str(path), **fields)


@pytest.fixture
def path(tmp_path):
    records = [
        example_of(image=[b"jpeg %d" % i], label=[i], box=[0.5, i + 0.5, 1.0, 2.0],
                   tokens=list(range(i)), words=[b"w"] * i, name=[b"gr\xc3\xbcn"])
        for i in range(3)
    ]  # fmt: skip
    write_tfrecord(tmp_path / "a.tfrecord", records)
    return tmp_path / "a.tfrecord"


def test_declared_features_arrive(path):
    features = {
        "image": "bytes",
        "label": "int64",
        "box": {"dtype": "float32", "shape": [2, 2]},
        "tokens": {"dtype": "int16", "shape": [-1]},
        "words": {"dtype": "text", "shape": [None]},
        "name": "text",
    }
    source = records_of(path, features=features)
    records = source.fetch(np.array([2, 0]))
    assert records["image"].tolist() == [b"jpeg 2", b"jpeg 0"]
    assert records["label"].tolist() == [2, 0]
    assert records["box"].tolist() == [[[0.5, 2.5], [1.0, 2.0]], [[0.5, 0.5], [1.0, 2.0]]]
    assert [row.tolist() for row in records["tokens"]] == [[0, 1], []]
    assert records["tokens"][0].dtype == np.int16
    assert [row.tolist() for row in records["words"]] == [["w", "w"], []]
    assert records["name"].tolist() == ["gr\u00fcn"] * 2
    assert source.element_spec()["tokens"].shape == (None,)
    assert list(source.element_spec()) == list(features)


def test_columns_choose_among_the_declared_features(path):
    features = {"label": "int64", "name": "text"}
    source = records_of(path, features=features, columns=["name"])
    assert list(source.element_spec()) == ["name"]
    with pytest.raises(ConfigError, match=r"columns\[0\]: 'labels' .*did you mean 'label'"):
        records_of(path, features=features, columns=["labels"])


def test_without_features_records_are_bytes(path):
    source = records_of(path)
    [record] = source.fetch(np.array([1]))["record"]
    assert example_class().FromString(record).features.feature["label"].int64_list.value[0] == 1
    with pytest.raises(ConfigError, match="did you mean 'record'"):
        records_of(path, columns=["records"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": "int63"}, r"features\.label: 'int63' is none of .*did you mean 'int64'"),
        ({"label": {"dtype": "int64", "size": 1}}, r"features\.label: 'size' is neither"),
        ({"label": {"dtype": "int64", "shape": 4}}, r"features\.label: shape 4 is not a list"),
        ({"label": {"dtype": "int64", "shape": [-1, -1]}}, r"features\.label: shape"),
        ({"label": {"shape": [1]}}, r"features\.label: None is none of"),
        ({}, r"features: \{\} is not a table"),
        ({"lable": "int64"}, r"features\.lable: the first record of .*did you mean 'label'"),
        ({"label": "float32"}, r"features\.label: float32 is not in a int64_list"),
    ],
)
def test_features_that_cannot_be_are_refused_before_training(path, features, message):
    with pytest.raises(ConfigError, match=message):
        records_of(path, features=features)


@pytest.mark.parametrize(
    ("record", "features", "message"),
    [
        (example_of(x=[1]), {"label": "int64"}, "it lacks feature 'label'"),
        (example_of(label=[1, 2]), {"label": "int64"}, r"has 2 values, and its shape is \(\)"),
        (example_of(label=[]), {"label": "int64"}, r"has 0 values, and its shape is \(\)"),
        (example_of(label=[1.5]), {"label": "int64"}, "is a float_list, which holds no int64"),
        (example_of(label=[300]), {"label": "uint8"}, "300"),
        (example_of(label=[1, 2, 3]), {"label": {"dtype": "int64", "shape": [2]}},
         r"has 3 values, and its shape is \[2\]"),
        (b"\xff\xff", {"label": {"dtype": "int64", "shape": [-1]}}, "DecodeError"),
    ],
)  # fmt: skip
def test_a_record_that_differs_is_a_bad_record(tmp_path, record, features, message):
    dtype = features["label"]
    good = example_of(label=[1, 2] if isinstance(dtype, dict) else [1])
    write_tfrecord(tmp_path / "a.tfrecord", [good, record])
    source = records_of(tmp_path, features=features)
    with pytest.raises(DataError, match=message):
        source.fetch(np.array([1]))
    skipping = records_of(tmp_path, features=features, on_error="skip", error_budget=1)
    _ = skipping.fetch(np.array([0, 1]))
    assert [bad.number for bad in skipping.bad_records] == [1]


def test_a_feature_of_varying_length_may_be_missing(tmp_path):
    write_tfrecord(tmp_path / "a.tfrecord", [example_of(a=[1]), example_of(a=[1], tokens=[5])])
    features = {"a": "int64", "tokens": {"dtype": "int64", "shape": [-1]}}
    records = records_of(tmp_path, features=features).fetch(np.arange(2))
    assert [row.tolist() for row in records["tokens"]] == [[], [5]]


def test_sequence_examples_are_refused_in_words(tmp_path):
    steps = b"\x12\x00"  # the field of the lists, empty
    write_tfrecord(tmp_path / "a.tfrecord", [example_of(a=[1]) + steps])
    with pytest.raises(DataError, match="is a SequenceExample"):
        records_of(tmp_path, features={"a": "int64"})


def test_records_that_are_no_examples_are_refused_in_words(tmp_path):
    write_tfrecord(tmp_path / "a.tfrecord", [b"\xff\xff"])
    with pytest.raises(DataError, match=r"is no tf\.train\.Example; leave out `features`"):
        records_of(tmp_path, features={"a": "int64"})


def test_a_wrong_checksum_is_a_bad_record(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"jpeg 1")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"record 1 of .*its checksum does not match"):
        records_of(path).fetch(np.arange(3))


def test_a_file_that_is_cut_short_is_an_error_before_training(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"a\.tfrecord.*cut short: the record that begins"):
        records_of(path)
    source = records_of(path, on_error="skip", error_budget=1)
    assert len(source) == 3
    _ = source.fetch(np.arange(3))
    assert [bad.number for bad in source.bad_records] == [2]


def test_compressed_files_are_refused(path):
    path.write_bytes(gzip.compress(path.read_bytes()))
    for on_error in ("raise", "skip"):
        with pytest.raises(DataError, match=r"compressed with gzip.*decompress it first: gunzip"):
            records_of(path, on_error=on_error)


def test_of_a_folder_the_files_named_after_the_format_are_read(path):
    (path.parent / "dataset_info.json").write_text("{}")
    write_tfrecord(path.parent / "b.tfrecord-00000-of-00001", [example_of(label=[9])])
    source = records_of(path.parent, features={"label": "int64"})
    assert source.fetch(np.arange(4))["label"].tolist() == [0, 1, 2, 9]
    path.rename(path.parent / "data.bin")
    (path.parent / "b.tfrecord-00000-of-00001").unlink()
    assert len(records_of(path.parent / "data.bin")) == 3
    with pytest.raises(DataError, match="no TFRecord file by its name; name the files"):
        records_of(path.parent)
    with pytest.raises(DataError, match="named twice"):
        create("source", "tfrecord", path=[str(path.parent / "data.bin")] * 2)


def test_an_empty_shard_holds_no_records(path):
    (path.parent / "empty.tfrecord").write_bytes(b"")
    assert len(records_of(path.parent)) == 3


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"dtype": "float32", "shape": [3]}, r"'box' has 4 values, and its shape is \[3\]"),
        ("float32", r"'box' has 4 values, and its shape is \(\)"),
    ],
)
def test_a_shape_that_the_first_record_lacks_is_an_error_before_training(path, declared, message):
    with pytest.raises(DataError, match=rf"first record of .*a\.tfrecord: .*{message}; correct"):
        records_of(path, features={"box": declared})
    assert len(records_of(path, features={"box": declared}, on_error="skip")) == 3
