import struct

import numpy as np
import pyarrow as pa
import pytest
from conftest_files import everything, table, write_arrow, write_parquet
from test_parquet import plain

from feedrace.errors import DataError


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"compression": "lz4"}])
def test_files_and_streams_give_the_records_that_were_written(tmp_path, make, stream, options):
    write_arrow(tmp_path / "a.arrow", table(30), stream=stream, **options)
    write_arrow(tmp_path / "b.arrow", table(10, start=30), stream=stream, **options)
    assert plain(everything(make("arrow", tmp_path))) == table(40).to_pydict()


def test_a_stream_that_ends_without_a_mark_is_whole(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrows", table(), stream=True)
    path.write_bytes(path.read_bytes()[:-8])
    assert plain(everything(make("arrow", path))) == table().to_pydict()


def test_batches_without_rows_are_left_out(tmp_path, make):
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        for part in (table(0).cast(table().schema), table(3), table(0).cast(table().schema)):
            for batch in part.to_batches() or [pa.RecordBatch.from_pylist([], table().schema)]:
                writer.write_batch(batch)
    source = make("arrow", path)
    assert plain(everything(source)) == table(3).to_pydict()
    assert source._content.locate(2) == (str(path), 2)


def test_dictionaries_that_are_replaced_or_grow_within_a_stream_give_one_code_a_value(
    tmp_path, make
):
    parts = [["x", "y"], ["z", "x"], ["y", "z"]]
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema([pa.field("kind", kind), pa.field("id", pa.int32())])
    for name, options in (("replaced", {}), ("grown", {"emit_dictionary_deltas": True})):
        path = tmp_path / f"{name}.arrows"
        with (
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer,
        ):
            known = []
            for part in parts:
                known = known + [one for one in part if one not in known] if options else part
                values = pa.array(known)
                codes = pa.array([known.index(one) for one in part], pa.int8())
                column = pa.DictionaryArray.from_arrays(codes, values)
                writer.write_batch(
                    pa.RecordBatch.from_arrays(
                        [column, pa.array([1, 2], pa.int32())], schema=schema
                    )
                )
        source = make("arrow", path)
        assert source.categories == {"kind": ("x", "y", "z")}
        assert everything(source)["kind"].tolist() == [0, 1, 2, 0, 1, 2]
        assert source.fetch(np.array([3]))["kind"].tolist() == [0]


def test_only_chosen_columns_are_decoded(tmp_path, make):
    made = table().append_column("odd", pa.array([{}] * 40, pa.map_(pa.string(), pa.int8())))
    path = write_arrow(tmp_path / "a.arrow", made)
    with pytest.raises(DataError, match="column 'odd'"):
        make("arrow", path)
    source = make("arrow", path, columns=["text", "id"])
    assert list(everything(source)) == ["text", "id"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_an_error_before_the_first_record(
    tmp_path, make, stream, where
):
    path = write_arrow(tmp_path / "a.arrow", table(), stream=stream)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * where)])
    with pytest.raises(DataError, match=r"a\.arrow.*(cut short|no Arrow schema)"):
        make("arrow", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no Arrow schema"), (b"FEA1....", "version 1"), (b"x" * 50, "neither an Arrow file")],
)
def test_files_that_are_no_arrow_files_are_an_error(tmp_path, make, content, message):
    path = tmp_path / "a.arrow"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        make("arrow", path)


def test_the_rows_of_a_damaged_batch_are_bad_records(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table(20), batch=10)
    content = bytearray(path.read_bytes())
    # The offsets of the second batch's texts: as large as none can be.
    at = content.rindex(struct.pack("<3i", 0, 7, 14))
    content[at + 4 : at + 8] = struct.pack("<i", 1 << 30)
    path.write_bytes(content)
    source = make("arrow", path, on_error="skip", error_budget=20, memory_limit=1)
    with pytest.raises(DataError, match="record 0 "):
        make("arrow", path).fetch(np.arange(20))
    source.fetch(np.arange(20))
    assert source.invalid_rows(np.arange(20)).all()  # small batches are decoded together


def test_metadata_that_point_anywhere_are_an_error(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table(5), stream=True)
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<I", content, 4)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(8, 8 + length, 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            records = plain(everything(make("arrow", path)))
        except (DataError, UnicodeError):
            continue
        assert len(next(iter(records.values()))) == 5


def test_a_file_that_changes_after_it_was_found_is_an_error(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table())
    source = make("arrow", path)
    write_arrow(path, table(start=1))
    with pytest.raises(DataError, match=r"a\.arrow.*changed"):
        source.fetch(np.array([0]))


def test_identity_changes_with_a_file(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table())
    before = make("arrow", path).identity()
    write_arrow(path, table(start=1))
    assert make("arrow", path).identity() != before


def test_files_whose_columns_differ_are_an_error(tmp_path, make):
    write_arrow(tmp_path / "a.arrow", table())
    write_arrow(tmp_path / "b.arrow", table().drop_columns(["text"]))
    with pytest.raises(DataError, match=r"column 'text' is missing.*b\.arrow"):
        make("arrow", tmp_path)
    assert len(make("arrow", tmp_path, columns=["id"])) == 80


def test_a_parquet_file_by_another_name_is_an_error(tmp_path, make):
    with pytest.raises(DataError, match="neither an Arrow file nor a stream"):
        make("arrow", write_parquet(tmp_path / "a.arrow", table()))


def test_the_file_is_read_and_not_mapped(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table())
    source = make("arrow", path)
    everything(source)
    with open("/proc/self/maps") as maps:
        assert str(path) not in maps.read()


def test_a_batch_that_claims_other_rows_than_its_columns_have_is_an_error(tmp_path, make):
    path = write_arrow(tmp_path / "a.arrow", table(1000), batch=1000)
    content = path.read_bytes()
    assert content.count(struct.pack("<q", 1000)) > 1  # of the batch, and of each column
    path.write_bytes(content.replace(struct.pack("<q", 1000), struct.pack("<q", 999), 1))
    with pytest.raises(DataError, match="columns have other lengths"):
        make("arrow", path)


def test_lists_of_a_length_that_the_file_cannot_hold_are_an_error(tmp_path, make):
    made = pa.table({"x": pa.array([[1, 2, 3]] * 4, pa.list_(pa.int8(), 3))})
    path = write_arrow(tmp_path / "a.arrow", made, stream=True)
    content = path.read_bytes()
    where = content.index(struct.pack("<i", 3), content.index(b"x\0"))
    for at in range(8, where + 200):
        if content[at : at + 4] == struct.pack("<i", 3):
            damaged = bytearray(content)
            damaged[at : at + 4] = struct.pack("<i", 1 << 30)
            path.write_bytes(damaged)
            try:
                make("arrow", path)
            except DataError as error:
                if "by its type" in str(error):
                    return
    raise AssertionError("no length of lists was found")


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_a_name_of_a_column_that_is_no_text_is_an_error(tmp_path, make, name):
    write = write_arrow if name == "arrow" else write_parquet
    path = write(tmp_path / "a", pa.table({"namename": [1, 2, 3]}))
    path.write_bytes(path.read_bytes().replace(b"namename", b"name\xff\xfeme"))
    with pytest.raises(DataError, match="is damaged"):
        make(name, path)
