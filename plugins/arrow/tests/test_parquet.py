import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest_files import everything, table, write_parquet

from feedrace.errors import ConfigError, DataError


def plain(batch):
    return {key: [v.tolist() if isinstance(v, np.ndarray) else v for v in value]
            for key, value in batch.items()}  # fmt: skip


def test_records_of_all_files_come_in_the_order_of_their_names(tmp_path, make):
    write_parquet(tmp_path / "b.parquet", table(10, start=30))
    write_parquet(tmp_path / "a.parquet", table(30))
    write_parquet(tmp_path / "deep" / "c.pq", table(2, start=40))
    (tmp_path / "notes.txt").write_text("no Parquet")
    source = make("parquet", tmp_path)
    assert len(source) == 42
    assert plain(everything(source)) == table(42).to_pydict()


def test_only_the_chosen_columns_are_read_in_the_order_given(tmp_path, make, monkeypatch):
    source = make("parquet", write_parquet(tmp_path / "a.parquet", table()), columns=["text", "id"])
    read = []
    whole = pq.ParquetFile.read_row_groups

    def spy(self, groups, columns):
        read.append(columns)
        return whole(self, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    assert list(everything(source)) == ["text", "id"]
    assert list(source.element_spec()) == ["text", "id"]
    assert read == [["text", "id"]]


def test_a_column_that_does_not_exist_names_the_one_that_may_be_meant(tmp_path, make):
    path = write_parquet(tmp_path / "a.parquet", table())
    with pytest.raises(ConfigError, match=r"'scor' is no column of .*did you mean 'score'"):
        make("parquet", path, columns=["scor"])


def test_footers_are_read_once_and_kept(tmp_path, make, monkeypatch):
    for number in range(3):
        write_parquet(tmp_path / f"{number}.parquet", table(5, start=5 * number))
    make("parquet", tmp_path)
    opened = []
    init = pq.ParquetFile.__init__
    monkeypatch.setattr(
        pq.ParquetFile, "__init__", lambda self, *a, **k: (opened.append(1), init(self, *a, **k))[1]
    )
    assert len(make("parquet", tmp_path)) == 15
    assert len(opened) == 1  # the first file's schema
    write_parquet(tmp_path / "2.parquet", table(7))
    assert len(make("parquet", tmp_path)) == 17


def test_identity_changes_with_a_file_and_not_with_its_place(tmp_path, make):
    path = write_parquet(tmp_path / "one" / "a.parquet", table())
    before = make("parquet", path).identity()
    copy = write_parquet(tmp_path / "two" / "a.parquet", table())
    assert make("parquet", copy).identity() == before
    write_parquet(path, table(start=1))
    assert make("parquet", path).identity() != before


def test_files_whose_columns_differ_are_one_error_that_names_them_all(tmp_path, make):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": [1], "y": ["a"], "z": [1.5]}))
    write_parquet(tmp_path / "b.parquet", pa.table({"x": ["1"], "y": ["a"], "z": [1.5]}))
    write_parquet(tmp_path / "c.parquet", pa.table({"x": ["1"], "z": [1.5]}))
    with pytest.raises(DataError) as caught:
        make("parquet", tmp_path)
    text = str(caught.value)
    assert "column 'x' has type 'string', not 'int64' in" in text
    assert "column 'y' is missing" in text
    assert text.count("b.parquet") == 1
    assert text.count("c.parquet") == 2
    assert len(make("parquet", tmp_path, columns=["z"])) == 3
    source = make("parquet", tmp_path, columns=["x"], types={"x": "int32"})
    assert everything(source)["x"].tolist() == [1, 1, 1]


def test_columns_may_come_in_another_order_in_another_file(tmp_path, make):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": [1], "y": ["a"]}))
    write_parquet(tmp_path / "b.parquet", pa.table({"y": ["b"], "x": [2]}))
    assert plain(everything(make("parquet", tmp_path))) == {"x": [1, 2], "y": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (b"PAR1 and more", "is no Parquet file"), (None, "cut short")],
)
def test_files_that_are_empty_or_damaged_are_an_error_before_the_first_record(
    tmp_path, make, content, message
):
    path = write_parquet(tmp_path / "a.parquet", table())
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(DataError, match=message) as caught:
        make("parquet", path)
    assert str(path) in str(caught.value)


def test_files_without_records_are_an_error(tmp_path, make):
    with pytest.raises(DataError, match="no records"):
        make("parquet", write_parquet(tmp_path / "a.parquet", table(3).slice(3)))
    write_parquet(tmp_path / "b.parquet", table(3))
    write_parquet(tmp_path / "c.parquet", table(3).slice(3))
    source = make("parquet", tmp_path)
    assert source.fetch(np.array([2]))["id"].tolist() == [2]


def test_a_file_that_changes_after_it_was_found_is_an_error(tmp_path, make):
    path = write_parquet(tmp_path / "a.parquet", table())
    source = make("parquet", path)
    write_parquet(path, table(start=1))
    with pytest.raises(DataError, match=r"a\.parquet.*changed"):
        source.fetch(np.array([0]))


def damage_group(path, group):
    """Overwrite the data of a row group's columns."""
    meta = pq.ParquetFile(path).metadata.row_group(group)
    content = bytearray(path.read_bytes())
    for number in range(meta.num_columns):
        column = meta.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + column.total_compressed_size] = b"\xff" * (
            column.total_compressed_size
        )
    path.write_bytes(content)


def test_the_rows_of_a_damaged_row_group_are_bad_records(tmp_path, make):
    path = tmp_path / "a.parquet"
    rows = np.arange(3 << 20)
    pq.write_table(
        pa.table({"x": rows}), path, row_group_size=1 << 20
    )  # groups of 8 MB: not joined
    damage_group(path, 1)
    with pytest.raises(DataError, match=r"record 1048576 \(record 1048576 of .*a\.parquet\)"):
        make("parquet", path).fetch(np.array([0, 1 << 20]))
    source = make("parquet", path, on_error="skip", error_budget=10)
    numbers = np.array([0, 1 << 20, (1 << 20) + 5, 2 << 20])
    assert source.fetch(numbers)["x"].tolist() == [0, 0, 0, 2 << 20]
    assert source.invalid_rows(numbers).tolist() == [False, True, True, False]
    assert [bad.number for bad in source.bad_records] == [1 << 20, (1 << 20) + 5]


def test_dictionaries_become_codes_that_are_the_same_in_all_files(tmp_path, make):
    for name, values in (("a", ["x", "y", "x"]), ("b", ["z", "y", "y"]), ("c", ["w", "x", "z"])):
        made = pa.table({"kind": pa.array(values).dictionary_encode()})
        write_parquet(tmp_path / f"{name}.parquet", made, group=2)
    source = make("parquet", tmp_path)
    assert everything(source)["kind"].tolist() == [0, 1, 0, 2, 1, 1, 3, 0, 2]
    assert source.categories == {"kind": ("x", "y", "z", "w")}
    assert any("4 categories: x, y, z, w" in line for line in source.details())


def test_times_that_int32_cannot_hold_are_an_error_before_the_first_record(tmp_path, make):
    when = pa.array([1_700_000_000_000_000], pa.timestamp("us"))
    path = write_parquet(tmp_path / "a.parquet", pa.table({"when": when}))
    with pytest.raises(DataError, match="microseconds since 1970-01-01 as int64") as caught:
        make("parquet", path)
    assert 'types = { when = "timestamp[s]" }' in str(caught.value)
    source = make("parquet", path, types={"when": "timestamp[s]"})
    assert source.fetch(np.array([0]))["when"].tolist() == [1_700_000_000]


def test_decimals_can_be_cast(tmp_path, make):
    price = pa.array(["1.25", "3.50"]).cast(pa.decimal128(5, 2))
    path = write_parquet(tmp_path / "a.parquet", pa.table({"price": price}))
    source = make("parquet", path, types={"price": "float32"})
    assert everything(source)["price"].tolist() == [1.25, 3.5]


def test_numbers_that_do_not_fit_name_the_record(tmp_path, make):
    path = write_parquet(tmp_path / "a.parquet", pa.table({"x": [1, 2**40]}))
    source = make("parquet", path)
    assert source.element_spec()["x"].dtype == np.int32
    with pytest.raises(DataError, match=r"record 1 .*1099511627776.*int32"):
        everything(source)


def test_nulls_are_bad_records_unless_something_stands_for_them(tmp_path, make):
    made = pa.table({"label": pa.array([3, None, 5], pa.int8()), "text": ["a", "b", None]})
    path = write_parquet(tmp_path / "a.parquet", made)
    with pytest.raises(DataError, match=r"record 1 .*label is null"):
        everything(make("parquet", path))
    source = make("parquet", path, on_error="substitute", error_budget=5)
    assert everything(source)["label"].tolist() == [3, 3, 3]
    source = make("parquet", path, nulls={"label": -1, "text": ""})
    assert plain(everything(source)) == {"label": [3, -1, 5], "text": ["a", "b", ""]}


def test_fields_that_hugging_face_describes_arrive_as_described(tmp_path, make):
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
        "grid": {"shape": [2, 2], "dtype": "int32", "_type": "Array2D"},
        "sounds": {"feature": {"_type": "Audio"}, "_type": "List"},
        "boxes": {"feature": {"crop": {"_type": "Image"}}, "_type": "Sequence"},
    }
    made = pa.table({
        "image": [{"bytes": b"png", "path": None}],
        "label": [1],
        "grid": pa.array([[[1, 2], [3, 4]]], pa.list_(pa.list_(pa.int32()))),
        "sounds": [[{"bytes": b"wav", "path": "x"}, {"bytes": b"ogg", "path": None}]],
        "boxes": [{"crop": [{"bytes": b"jpg", "path": None}]}],
    }).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )  # fmt: skip
    source = make("parquet", write_parquet(tmp_path / "a.parquet", made))
    records = everything(source)
    assert records["image"].tolist() == [b"png"]
    assert records["grid"].tolist() == [[[1, 2], [3, 4]]]
    assert source.element_spec()["grid"].shape == (2, 2)
    assert records["sounds"][0].tolist() == [b"wav", b"ogg"]
    assert records["boxes"]["crop"][0].tolist() == [b"jpg"]
    assert source.categories == {"label": ("no", "yes")}


def test_metadata_that_others_wrote_under_the_same_key_are_no_hint(tmp_path, make):
    for number, text in enumerate(
        [b"{", b"[]", b'{"info": 3}', b"\xff", b'{"info": {"features": 1}}']
    ):
        made = table(3).replace_schema_metadata({"huggingface": text})
        source = make("parquet", write_parquet(tmp_path / f"{number}.parquet", made))
        assert len(everything(source)["id"]) == 3


def written(fields, columns):
    metadata = {"feedrace": json.dumps({"version": 1, "fields": fields})}
    return pa.table(columns).replace_schema_metadata(metadata)


def test_what_feedrace_convert_wrote_comes_back_as_it_was(tmp_path, make):
    import ml_dtypes

    fields = [
        {"path": ["image"], "dtype": "uint8", "shape": [2, 3]},
        {"path": ["a", "b"], "dtype": "bfloat16", "shape": []},
        {"path": ["wave"], "dtype": "complex64", "shape": [2]},
        {"path": ["boxes"], "dtype": "float32", "shape": [None, 2]},
        {"path": ["grid"], "dtype": "int16", "shape": [None, None]},
        {"path": ["none"], "dtype": "int16", "shape": [2, 0]},
        {"path": ["words"], "dtype": "str", "shape": [None]},
        {"path": ["text"], "dtype": "str", "shape": []},
    ]
    half = np.array([1.5, -2], ml_dtypes.bfloat16)
    shaped = pa.struct({"shape": pa.list_(pa.int64(), 2), "values": pa.list_(pa.int16())})
    columns = {
        "image": pa.array(
            np.arange(12, dtype=np.uint8).reshape(2, 6).tolist(), pa.list_(pa.uint8(), 6)
        ),
        "a": pa.StructArray.from_arrays([pa.array(half.view(np.uint16))], ["b"]),
        "wave": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.float32(), 4)),
        "boxes": pa.array([[1, 2, 3, 4], []], pa.list_(pa.float32())),
        "grid": pa.array(
            [{"shape": [1, 2], "values": [7, 8]}, {"shape": [0, 3], "values": []}], shaped
        ),
        "none": pa.array([{"shape": [2, 0], "values": []}] * 2, shaped),
        "words": pa.array([["x"], ["y", "z"]]),
        "text": pa.array(["p", "q"]),
    }
    path = write_parquet(tmp_path / "a.parquet", written(fields, columns))
    source = make("parquet", path)
    records = everything(source)
    assert records["image"].tolist() == np.arange(12).reshape(2, 2, 3).tolist()
    assert records["a"]["b"].dtype == ml_dtypes.bfloat16
    assert records["a"]["b"].tolist() == half.tolist()
    assert records["wave"].tolist() == [[1 + 2j, 3 + 4j], [5 + 6j, 7 + 8j]]
    assert [one.tolist() for one in records["boxes"]] == [[[1, 2], [3, 4]], []]
    assert [one.shape for one in records["grid"]] == [(1, 2), (0, 3)]
    assert records["none"].shape == (2, 2, 0)
    assert [one.tolist() for one in records["words"]] == [["x"], ["y", "z"]]
    assert records["text"].tolist() == ["p", "q"]
    assert source.element_spec()["boxes"].shape == (None, 2)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b'{"version": 2, "fields": []}',
        b'{"version": 1}',
        b'{"version": 1, "fields": [{"path": ["id"], "dtype": "x", "shape": []}]}',
        b'{"version": 1, "fields": [{"path": ["id"], "dtype": "int8", "shape": [-1]}]}',
    ],
)
def test_damaged_metadata_of_feedrace_convert_are_an_error(tmp_path, make, text):
    made = table(3).replace_schema_metadata({"feedrace": text})
    with pytest.raises(DataError, match="convert again"):
        make("parquet", write_parquet(tmp_path / "a.parquet", made))


def test_parquet_at_an_address_is_read_alike(tmp_path, make):
    fsspec = pytest.importorskip("fsspec")
    path = write_parquet(tmp_path / "a.parquet", table())
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/set/a.parquet", path.read_bytes())
    try:
        source = make("parquet", "memory://set/a.parquet", cache_dir=str(tmp_path / "kept"))
        assert plain(everything(source)) == table().to_pydict()
    finally:
        memory.rm("/set", recursive=True)


def test_the_file_is_read_and_not_mapped(tmp_path, make):
    path = write_parquet(tmp_path / "a.parquet", table())
    source = make("parquet", path)
    everything(source)
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            assert str(path) not in maps.read()
