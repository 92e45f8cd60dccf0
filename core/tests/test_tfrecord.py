"""TFRecord files: tables of where records begin, and checksums."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.errors import DataError
from feedrace.plugin import Ranges, Storage, TableCache, Tables, Unreadable
from feedrace.storage import tfrecord
from feedrace.storage.files import LocalFile
from feedrace.storage.tfrecord import check_tfrecord, masked, scan_tfrecord

google_crc32c = pytest.importorskip("google_crc32c")


def framed(record):
    head = struct.pack("<Q", len(record))
    return b"".join(
        part + struct.pack("<I", masked(google_crc32c.value(part))) for part in (head, record)
    )


def written(path, records):
    path.write_bytes(b"".join(map(framed, records)))
    return path


def opened(path):
    storage = Storage()
    return storage.open(*storage.find(str(path)))


def scan(path):
    """The table of a file as the places of the ends of its records, and its damage."""
    table = scan_tfrecord(opened(path))
    starts, sizes = table.arrays["starts"], table.arrays["sizes"]
    assert starts.dtype == sizes.dtype == np.int64
    ends = [0, *(starts + sizes).tolist()]
    assert (starts - 12).tolist() == ends[:-1]
    return ends, table.damage


@settings(max_examples=50, deadline=None)
@given(records=st.lists(st.binary(max_size=300), max_size=20), data=st.data())
def test_a_table_says_where_records_lie_whatever_is_cut_off(tmp_path_factory, records, data):
    path = written(tmp_path_factory.mktemp("t") / "a.tfrecord", records)
    ends = np.cumsum([0] + [len(record) + 16 for record in records]).tolist()
    assert scan(path) == (ends, "")
    kept = data.draw(st.integers(0, ends[-1]))
    path.write_bytes(path.read_bytes()[:kept])
    found, damage = scan(path)
    assert found == [end for end in ends if end <= kept]
    assert bool(damage) == (kept not in ends)


def test_tensorflow_reads_what_the_checksums_are_made_of(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = str(tmp_path / "a.tfrecord")
    records = [os.urandom(n) for n in (0, 1, 8, 1000)]
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "a.tfrecord").read_bytes() == b"".join(map(framed, records))


def test_a_file_is_looked_at_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "_WINDOW", 12_288)
    rng = np.random.default_rng(0)
    records = [bytes(n) for n in rng.integers(0, 40_000, 60).tolist()]
    path = written(tmp_path / "a.tfrecord", records)
    ends, _ = scan(path)
    assert ends == np.cumsum([0] + [len(r) + 16 for r in records]).tolist()
    data = bytearray(path.read_bytes())
    data[ends[50] + 2] ^= 1
    path.write_bytes(data)
    assert scan(path)[0] == ends[:51]


@pytest.mark.parametrize("damage", [None, "header", "cut"])
def test_of_large_records_the_headers_alone_are_read(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(tfrecord, "_LARGE", 100)
    monkeypatch.setattr(tfrecord, "_HEADERS", 7)
    monkeypatch.setattr(tfrecord, "_WINDOW", 1000)
    records = [bytes(200 + n) for n in range(40)]
    path = written(tmp_path / "a.tfrecord", records)
    ends = np.cumsum([0] + [len(r) + 16 for r in records]).tolist()
    data, good = bytearray(path.read_bytes()), 40
    if damage == "header":
        data[ends[30] + 3] ^= 1
        good = 30
    if damage == "cut":
        del data[ends[35] + 5 :]
        good = 35
    path.write_bytes(data)
    sizes, read = [], LocalFile.read
    monkeypatch.setattr(
        LocalFile, "read", lambda self, at, size: (sizes.append(size), read(self, at, size))[1]
    )
    found, said = scan(path)
    assert found == ends[: good + 1]
    assert bool(said) == (damage is not None)
    assert sum(sizes) < 2000


@pytest.mark.parametrize("large", [0, 1 << 20])
def test_a_file_that_shrinks_while_it_is_looked_at_is_named(tmp_path, monkeypatch, large):
    monkeypatch.setattr(tfrecord, "_LARGE", large)
    monkeypatch.setattr(tfrecord, "_WINDOW", 1000)
    path = written(tmp_path / "a.tfrecord", [bytes(84)] * 100)
    read, calls = LocalFile.read, []

    def shrinking(self, at, size):
        calls.append(at)
        if len(calls) == 3:
            os.truncate(path, 120)
        return read(self, at, size)

    monkeypatch.setattr(LocalFile, "read", shrinking)
    with pytest.raises(DataError, match=r"a\.tfrecord .* cut short"):
        scan(path)


@pytest.mark.parametrize("byte", [1, 5, 9])
def test_a_damaged_header_ends_the_table_there(tmp_path, byte):
    path = written(tmp_path / "a.tfrecord", [b"x" * n for n in (3, 0, 500, 7)])
    data = bytearray(path.read_bytes())
    data[19 + 16 + byte] ^= 1  # in the third record's header
    path.write_bytes(data)
    ends, damage = scan(path)
    assert ends == [0, 19, 35]
    assert damage == "the file is damaged or cut short: the header at byte 35 is damaged"


def test_records_are_read_through_the_table_and_checked(tmp_path):
    path = written(tmp_path / "a.tfrecord", [b"one", b"", b"three"])
    data = bytearray(Path(path).read_bytes())
    data[12] ^= 1
    path.write_bytes(data)
    storage = Storage(cache_dir=str(tmp_path / "cache"))
    files = storage.find(str(path))
    tables = Tables(TableCache(storage), "tfrecord", files, scan_tfrecord)
    ranges = Ranges(storage, files, tables, check_tfrecord)
    assert dict(ranges.read(np.array([2, 1, 0]))) == {
        0: b"three", 1: b"", 2: Unreadable("its checksum does not match")
    }  # fmt: skip


def test_without_the_library_of_checksums_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    path = written(tmp_path / "a.tfrecord", [b"one"])
    monkeypatch.setitem(__import__("sys").modules, "google_crc32c", None)
    tfrecord._crc.cache_clear()
    with pytest.raises(DataError, match=r"needs google-crc32c: .*install google-crc32c"):
        scan(path)
