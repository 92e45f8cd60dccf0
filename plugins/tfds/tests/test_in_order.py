"""What cannot be addressed is read in the stored order through a buffer."""

import shutil
from importlib import import_module
from typing import ClassVar

import numpy as np
import pytest

import feedrace
from feedrace import create
from feedrace.errors import DataError
from feedrace_tfds import records
from feedrace_tfds.in_order import InOrder
from feedrace_tfds.shards import Unreadable

COUNT = 360


def source(folder, split="test", **fields):
    return create("source", "tfds-streaming", name="feedrace_digits", split=split,
                  data_dir=str(folder), **fields)  # fmt: skip


@pytest.fixture
def remote(digits, monkeypatch):
    """The address of a bucket, in memory, that holds the prepared dataset, and the files opened."""
    from etils import epath
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):
        protocol = ("s3", "memory")
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("s3://", "memory://"))

    # With TensorFlow installed, paths would be its own file systems'.
    monkeypatch.setattr(import_module("etils.epath.gpath"), "_is_tf_installed", lambda: False)
    monkeypatch.setitem(import_module("fsspec.registry")._registry, "s3", Bucket)
    Bucket.clear_instance_cache()
    bucket = Bucket()
    bucket.put(f"{digits['tfrecord']}/feedrace_digits", "s3://b/data/feedrace_digits",
               recursive=True)  # fmt: skip
    opened = []
    whole_open = type(epath.Path("s3://b")).open
    monkeypatch.setattr(
        type(epath.Path("s3://b")),
        "open",
        lambda self, *rest, **kw: (opened.append(str(self)), whole_open(self, *rest, **kw))[1],
    )
    return "s3://b/data", opened


def reads(opened):
    return [path for path in opened if ".tfrecord-" in path]


def test_a_remote_dataset_is_read_in_windows_each_file_once(digits, remote):
    address, opened = remote
    made = source(address, shuffle=True, shuffle_buffer_size=50)
    assert (
        "in the stored order, through a buffer of 100 records, since the files are at s3://"
        in (made.details()[0])
    )
    local = source(digits["tfrecord"], shuffle=True, shuffle_mode="buffer", shuffle_buffer_size=50)
    assert "by number" in local.details()[0]
    pipelines = [feedrace.Pipeline(source=s, batch_size=32) for s in (made, local)]
    for one, other in zip(*pipelines, strict=True):
        assert (np.asarray(one["index"]) == np.asarray(other["index"])).all()
        assert (np.asarray(one["image"]) == np.asarray(other["image"])).all()
    assert len(reads(opened)) == 1


def test_a_remote_dataset_resumes_exactly(remote):
    address, opened = remote
    pipeline = feedrace.Pipeline(source=source(address, shuffle=True, shuffle_buffer_size=50),
                                 batch_size=32)  # fmt: skip
    batches, state = [], None
    for i, batch in enumerate(pipeline):
        batches.append(np.asarray(batch["index"]).tolist())
        if i == 4:
            state = pipeline.get_state()
    twin = feedrace.Pipeline(source=source(address, shuffle=True, shuffle_buffer_size=50),
                             batch_size=32)  # fmt: skip
    twin.set_state(state)
    assert [np.asarray(batch["index"]).tolist() for batch in twin] == batches[5:]
    assert len(reads(opened)) == 2


def test_files_that_are_read_in_order_are_read_in_one_thread(remote):
    address, opened = remote
    made = source(address, shuffle=True, shuffle_buffer_size=10)
    assert made.reader() is None
    for _ in feedrace.Pipeline(source=made, batch_size=32, workers=8):
        pass
    assert len(reads(opened)) == 1


def test_a_remote_file_that_is_damaged_or_missing_is_named(digits, remote):
    from etils import epath

    address, _ = remote
    folder = epath.Path(address) / "feedrace_digits" / "1.0.0"
    (shard,) = (path for path in folder.iterdir() if "test.tfrecord" in path.name)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    with pytest.raises(DataError, match=f"{shard.name}"):
        source(address).fetch(np.arange(COUNT))
    shard.write_bytes(whole[:-10])
    with pytest.raises(DataError, match="checksum"):
        source(address).fetch([COUNT - 1])
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard.name} is missing"):
        source(address)


def test_parquet_files_are_read_in_order(prepared, digits, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), import_module("pyarrow.parquet")
    folder = tmp_path / "feedrace_digits" / "1.0.0"
    shutil.copytree(f"{digits['tfrecord']}/feedrace_digits/1.0.0", folder)
    description = folder / "dataset_info.json"
    description.write_text(description.read_text().replace("tfrecord", "parquet"))
    # TFDS 4.9.10 itself loses records where it writes Parquet.
    stored = source(digits["tfrecord"])
    data = [record for _, record in sorted(stored._split.records.reader.read(np.arange(COUNT)))]
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
    with pytest.raises(DataError, match=f"{name} is missing"):
        source(tmp_path)


def buffered(window, parts=(("a", 0, 10, 10), ("b", 3, 4, 7), ("c", 0, 6, 6))):
    opened = []

    def read(path, skip):
        opened.append((path, skip))
        held = {"a": 10, "b": 7, "c": 4}[path]
        return (f"{path}{i}".encode() for i in range(skip, held))

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


def test_array_record_files_at_an_address_are_refused():
    with pytest.raises(DataError, match="copy ArrayRecord files to a local folder"):
        records.make_reader([records.Part("gs://b/x", 0, 1, 1)], "array_record", None, 1, True)


@pytest.mark.parametrize("skip", [0, 99, 100, 150, 250, 299, 300, 339])
def test_a_parquet_file_is_read_from_any_row_on_whatever_its_groups(tmp_path, skip):
    from feedrace_tfds.in_order import _parquet

    arrow, parquet = pytest.importorskip("pyarrow"), import_module("pyarrow.parquet")
    rows = [str(i).encode() for i in range(340)]
    parquet.write_table(arrow.table({"data": rows}), tmp_path / "f", row_group_size=100)
    assert list(_parquet(str(tmp_path / "f"), skip)) == rows[skip:]
