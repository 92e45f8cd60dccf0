"""What cannot be addressed is read in the stored order through a buffer."""

import shutil
from importlib import import_module

import numpy as np
import pytest

import feedrace
from feedrace import create
from feedrace.errors import DataError
from feedrace.plugin import File, Storage, TableCache, Unreadable
from feedrace_tfds.in_order import InOrder, parquet_records
from feedrace_tfds.records import Part, make_reader

COUNT = 360


def source(folder, split="test", **fields):
    return create("source", "tfds-streaming", name="feedrace_digits", split=split,
                  data_dir=str(folder), **fields)  # fmt: skip


def test_parquet_files_are_read_in_order(prepared, digits, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), import_module("pyarrow.parquet")
    folder = tmp_path / "feedrace_digits" / "1.0.0"
    shutil.copytree(f"{digits['tfrecord']}/feedrace_digits/1.0.0", folder)
    description = folder / "dataset_info.json"
    description.write_text(description.read_text().replace("tfrecord", "parquet"))
    # TFDS 4.9.10 itself loses records where it writes Parquet.
    stored = source(digits["tfrecord"])
    data = [record for _, record in sorted(stored._content.records.reader.read(np.arange(COUNT)))]
    name = "feedrace_digits-test.parquet-00000-of-00001"
    parquet.write_table(arrow.table({"data": data}), folder / name, row_group_size=100)
    made = source(tmp_path, shuffle=True, shuffle_buffer_size=50)
    assert "since parquet files have no index" in made.details()[0]
    seen = np.concatenate([np.asarray(batch["index"])[np.asarray(batch["valid_mask"])]
                           for batch in feedrace.Pipeline(source=made, batch_size=64)])  # fmt: skip
    assert sorted(seen) == list(range(0, 1797, 5))
    for order in (np.arange(COUNT)[::-1], np.array([333, 120, 5])):
        got, wanted = made.fetch(order), stored.fetch(order)
        assert (got["index"] == wanted["index"]).all()
        assert (got["image"] == wanted["image"]).all()
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}' does not exist; prepare the dataset again"):
        source(tmp_path)


def buffered(window, parts=(("a", 0, 10, 10), ("b", 3, 4, 7), ("c", 0, 6, 6))):
    opened = []

    def read(file, skip):
        opened.append((file.path, skip))
        held = {"a": 10, "b": 7, "c": 4}[file.path]
        return (f"{file.path}{i}".encode() for i in range(skip, held))

    parts = [Part(File(path, 0, ""), *counts) for path, *counts in parts]
    return InOrder(parts, read, window=window, why="of a test"), opened


def names(read):
    return [r.decode() if isinstance(r, bytes) else "-" for _, r in read]


def test_a_buffer_reads_on_across_files_and_back_within_its_reach():
    reader, opened = buffered(window=4)
    assert names(reader.read(np.array([2, 0]))) == ["a2", "a0"]
    assert names(reader.read(np.array([9, 11, 10, 3]))) == ["a9", "b4", "b3", "a3"]
    assert names(reader.read(np.array([8, 13]))) == ["a8", "b6"]
    assert opened == [("a", 0), ("b", 3)]
    assert names(reader.read(np.array([0]))) == ["a0"]  # beyond its reach: the file anew
    assert opened[2:] == [("a", 0)]


def test_a_far_record_is_read_from_the_beginning_of_its_window():
    reader, opened = buffered(window=2)
    assert names(reader.read(np.array([13]))) == ["b6"]
    assert names(reader.read(np.array([12]))) == ["b5"]
    assert opened == [("b", 5)]


def test_records_that_a_file_lacks_are_unreadable():
    reader, _ = buffered(window=8)
    got = list(reader.read(np.array([17, 18, 19])))
    assert names(got) == ["c3", "-", "-"]
    assert isinstance(got[1][1], Unreadable)


def test_a_file_with_more_records_than_told_is_an_error_each_time():
    reader, _ = buffered(window=8, parts=(("a", 0, 8, 8), ("b", 0, 7, 7)))
    assert names(reader.read(np.arange(6))) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    for _ in range(2):
        with pytest.raises(DataError, match=r"a holds 10 records, and the shardLengths .* say 8"):
            list(reader.read(np.array([7])))


def test_files_of_another_format_are_refused():
    part = Part(File("gs://b/x", 0, ""), 0, 1, 1)
    with pytest.raises(DataError, match="riegeli files cannot be read here; prepare them as tfrec"):
        make_reader([part], "riegeli", TableCache(Storage()), 1, True)


@pytest.mark.parametrize("skip", [0, 99, 100, 150, 250, 299, 300, 339])
def test_a_parquet_file_is_read_from_any_row_on_whatever_its_groups(tmp_path, skip):
    arrow, parquet = pytest.importorskip("pyarrow"), import_module("pyarrow.parquet")
    rows = [str(i).encode() for i in range(340)]
    parquet.write_table(arrow.table({"data": rows}), tmp_path / "f", row_group_size=100)
    storage = Storage()
    (file,) = storage.find(str(tmp_path / "f"))
    assert list(parquet_records(storage, file, skip)) == rows[skip:]
