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
    with pytest.raises(DataError, match=r"a\.array_record: it is no ArrayRecord file"):
        records_of(tmp_path)
    write_array_record(path, [])
    with pytest.raises(DataError, match="has no records"):
        records_of(tmp_path)


def test_one_bad_record_stands_for_a_damaged_file(tmp_path):
    for name in ("a", "b"):
        write_array_record(tmp_path / f"{name}.array_record", [b"x"] * 5)
    path = tmp_path / "b.array_record"
    path.write_bytes(path.read_bytes()[:-9])
    source = records_of(tmp_path, on_error="skip")
    numbers = np.arange(len(source))
    assert source.fetch(numbers)["record"].tolist()[:5] == [b"x"] * 5
    assert source.invalid_rows(numbers).tolist() == [False] * 5 + [True]
    [bad] = source.bad_records
    assert (bad.file, bad.number) == (str(path), 5)
    assert "no ArrayRecord file, or damaged or cut short" in bad.reason


def test_a_damaged_file_of_a_converted_folder_may_be_skipped(converted):
    path = sorted(converted.glob("*.array_record"))[1]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"data-00001.* on_error = 'substitute' or 'skip'"):
        records_of(converted)
    source = records_of(converted, on_error="substitute")
    assert source.fetch(np.arange(4))["label"].tolist() == [0, 1, 2, 0]


def test_a_shard_that_is_missing_is_named_unless_files_are_named(converted):
    first, second = sorted(converted.glob("*.array_record"))
    second.unlink()
    with pytest.raises(DataError, match=rf"has no {second.name}, which feedrace\.json in it names"):
        records_of(converted)
    assert len(records_of(first)) == 3


def test_converted_files_in_the_current_folder_have_their_fields(converted, monkeypatch):
    monkeypatch.chdir(converted)
    source = records_of("data-00000-of-00002.array_record")
    assert source.fetch(np.array([1]))["name"].tolist() == ["image 1"]


def test_an_address_of_this_machine_names_a_file(tmp_path):
    write_array_record(tmp_path / "part", [b"x"] * 3)  # in a folder, it would not be looked for
    assert len(records_of(f"file://{tmp_path}/part")) == 3
