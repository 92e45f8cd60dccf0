import numpy as np
import pytest

from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace_files.encoding import (
    SIDECAR,
    Document,
    Encoder,
    Field,
    Shard,
    write_document,
)
from feedrace_testing.sample_files import example_of, write_array_record


def records_of(path, **fields):
    return create("source", "array-record", path=str(path), **fields)


FIELDS = (
    Field(("image",), "uint8", (2, 2)),
    Field(("objects", "box"), "float32", (None, 4)),
    Field(("name",), "str", ()),
    Field(("label",), "int64", ()),
)


def values_of(i):
    return {
        "image": np.full((2, 2), i, np.uint8),
        "objects.box": np.full((i, 4), i, np.float32),
        "name": f"image {i}",
        "label": np.int64(i),
    }


@pytest.fixture
def converted(tmp_path):
    """A folder as `feedrace convert` writes it."""
    encode, shards = Encoder(FIELDS), []
    for part in range(2):
        name = f"data-{part:05}-of-00002.array_record"
        write_array_record(tmp_path / name, [encode(values_of(3 * part + i)) for i in range(3)])
        shards.append(Shard(name, 3, 100, ""))
    document = Document(
        storage="array-record", records=6, left_out=0, made_from="", bytes=200, digest="",
        fields=FIELDS, shards=tuple(shards),
    )  # fmt: skip
    (tmp_path / SIDECAR).write_bytes(write_document(document))
    return tmp_path


def test_converted_records_come_back(converted):
    source = records_of(converted)
    assert list(source.element_spec()) == ["image", "objects", "name", "label"]
    records = source.fetch(np.array([5, 0, 2]))
    assert records["image"][:, 0, 0].tolist() == [5, 0, 2]
    assert [box.shape for box in records["objects"]["box"]] == [(5, 4), (0, 4), (2, 4)]
    assert records["name"].tolist() == ["image 5", "image 0", "image 2"]
    assert records["label"].tolist() == [5, 0, 2]


def test_columns_choose_among_the_converted_fields(converted):
    source = records_of(converted, columns=["name", "image"])
    assert list(source.element_spec()) == ["name", "image"]
    records = source.fetch(np.array([1]))
    assert records["name"].tolist() == ["image 1"]
    assert records["image"].max() == 1
    with pytest.raises(ConfigError, match=r"'objects\.boxes' .*did you mean 'objects\.box'"):
        records_of(converted, columns=["objects.boxes"])


def test_a_shard_that_is_not_as_converted_is_an_error(converted):
    write_array_record(converted / "data-00001-of-00002.array_record", [b"x"])
    with pytest.raises(DataError, match=r"holds 1 records, and feedrace\.json beside it says 3"):
        records_of(converted)
    write_array_record(converted / "other.array_record", [b"x"])
    with pytest.raises(DataError, match=r"other\.array_record .* does not name it"):
        records_of(converted / "other.array_record")


def test_a_record_that_is_no_converted_one_is_a_bad_record(converted):
    path = converted / "data-00000-of-00002.array_record"
    good = [Encoder(FIELDS)(values_of(i)) for i in range(3)]
    write_array_record(path, [b"\xff", good[1], good[2][:-3]])
    source = records_of(converted, on_error="skip", error_budget=2)
    assert source.fetch(np.arange(3))["label"][1] == 1
    assert [bad.number for bad in source.bad_records] == [0, 2]


def test_without_a_document_records_are_bytes(tmp_path):
    write_array_record(tmp_path / "a.array_record", [b"one", b"two"])
    source = records_of(tmp_path)
    assert source.fetch(np.array([1, 0]))["record"].tolist() == [b"two", b"one"]
    with pytest.raises(ConfigError, match="did you mean 'record'"):
        records_of(tmp_path, columns=["recod"])


def test_declared_features_are_decoded(tmp_path):
    write_array_record(tmp_path / "a.array_record", [example_of(label=[i]) for i in range(3)])
    source = records_of(tmp_path, features={"label": "int32"})
    assert source.fetch(np.array([2, 0]))["label"].tolist() == [2, 0]


def test_groups_of_records_are_described(tmp_path):
    write_array_record(tmp_path / "a.array_record", [b"x"] * 5, "group_size:4")
    assert "they lie in groups of up to 4" in " ".join(records_of(tmp_path).details())
    write_array_record(tmp_path / "a.array_record", [b"x"] * 5)
    assert "groups" not in " ".join(records_of(tmp_path).details())


def test_damaged_files_are_an_error_before_training(tmp_path):
    path = tmp_path / "a.array_record"
    write_array_record(path, [b"x"] * 5)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.array_record is no ArrayRecord file"):
        records_of(tmp_path)
    write_array_record(path, [])
    with pytest.raises(DataError, match="has no records"):
        records_of(tmp_path)
