"""Tables of record offsets, kept on disk."""

import os
import stat
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedrace.errors import DataError
from feedrace_tfds import offsets
from feedrace_tfds.offsets import OffsetCache, masked, scan


def framed(record):
    head = struct.pack("<Q", len(record))
    return b"".join(
        part + struct.pack("<I", masked(google_crc32c.value(part))) for part in (head, record)
    )


def written(path, records):
    path.write_bytes(b"".join(map(framed, records)))
    return str(path)


@pytest.fixture
def file(tmp_path):
    return written(tmp_path / "a.tfrecord", [b"x" * n for n in (3, 0, 500, 7)])


@settings(max_examples=50, deadline=None)
@given(records=st.lists(st.binary(max_size=300), max_size=20), data=st.data())
def test_a_table_says_where_records_end_whatever_is_cut_off(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("t") / "a.tfrecord"
    written(path, records)
    ends = np.cumsum([0] + [len(record) + 16 for record in records])
    whole = scan(str(path))
    assert (whole.ends == ends).all()
    assert not whole.damage
    kept = data.draw(st.integers(0, int(ends[-1])))
    path.write_bytes(path.read_bytes()[:kept])
    cut = scan(str(path))
    assert cut.ends.tolist() == [end for end in ends.tolist() if end <= kept]
    assert bool(cut.damage) == (kept not in ends)


def test_tensorflow_reads_what_the_checksums_are_made_of(tmp_path):
    tf = pytest.importorskip("tensorflow")
    path = str(tmp_path / "a.tfrecord")
    records = [os.urandom(n) for n in (0, 1, 8, 1000)]
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "a.tfrecord").read_bytes() == b"".join(map(framed, records))


def test_a_file_is_looked_at_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(offsets, "_WINDOW", 12_288)
    rng = np.random.default_rng(0)
    records = [bytes(n) for n in rng.integers(0, 40_000, 60).tolist()]
    path = written(tmp_path / "a.tfrecord", records)
    table = scan(path)
    assert table.ends.tolist() == np.cumsum([0] + [len(r) + 16 for r in records]).tolist()
    data = bytearray(Path(path).read_bytes())
    data[int(table.ends[50]) + 2] ^= 1
    Path(path).write_bytes(data)
    assert scan(path).ends.tolist() == table.ends[:51].tolist()


@pytest.mark.parametrize("damage", [None, "header", "cut"])
def test_of_large_records_the_headers_alone_are_read(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(offsets, "_LARGE", 100)
    monkeypatch.setattr(offsets, "_HEADERS", 7)
    monkeypatch.setattr(offsets, "_WINDOW", 1000)
    records = [bytes(200 + n) for n in range(40)]
    path = written(tmp_path / "a.tfrecord", records)
    ends = np.cumsum([0] + [len(r) + 16 for r in records]).tolist()
    data, good = bytearray(Path(path).read_bytes()), 40
    if damage == "header":
        data[ends[30] + 3] ^= 1
        good = 30
    if damage == "cut":
        del data[ends[35] + 5 :]
        good = 35
    Path(path).write_bytes(data)
    read, pread = [], os.pread
    monkeypatch.setattr(
        os, "pread", lambda fd, size, at: (read.append(size), pread(fd, size, at))[1]
    )
    table = scan(path)
    assert table.ends.tolist() == ends[: good + 1]
    assert bool(table.damage) == (damage is not None)
    assert sum(read) < 2000


@pytest.mark.parametrize("large", [0, 1 << 20])
def test_a_file_that_shrinks_while_it_is_looked_at_ends_where_it_does(tmp_path, monkeypatch, large):
    monkeypatch.setattr(offsets, "_LARGE", large)
    monkeypatch.setattr(offsets, "_WINDOW", 1000)
    path = written(tmp_path / "a.tfrecord", [bytes(84)] * 100)
    pread, calls = os.pread, []

    def shrinking(descriptor, size, at):
        calls.append(at)
        if len(calls) == 3:
            os.truncate(path, 2500)
        return pread(descriptor, size, at)

    monkeypatch.setattr(os, "pread", shrinking)
    table = scan(path)
    assert table.ends.tolist() == list(range(0, 2501, 100))
    assert "damaged or cut short" in table.damage


def test_a_table_in_use_may_be_cut_by_others(file, tmp_path):
    cache = OffsetCache(str(tmp_path / "cache"))
    ends = cache.table(file).ends.tolist()
    kept = cache.table(file)
    (place,) = (tmp_path / "cache" / "offsets").iterdir()
    os.truncate(place, 0)
    assert kept.ends.tolist() == ends


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_a_file_is_no_file(file, tmp_path):
    cache = OffsetCache(str(tmp_path / "cache"))
    ends = cache.table(file).ends.tolist()
    (place,) = (tmp_path / "cache" / "offsets").iterdir()
    place.unlink()
    os.mkfifo(place)
    assert cache.table(file).ends.tolist() == ends
    assert place.is_file()
    os.mkfifo(tmp_path / "b.tfrecord")
    with pytest.raises(DataError, match=r"b\.tfrecord is not a regular file"):
        cache.table(str(tmp_path / "b.tfrecord"))


def test_others_can_read_a_table(file, tmp_path):
    before = os.umask(0o022)
    try:
        OffsetCache(str(tmp_path / "cache")).table(file)
    finally:
        os.umask(before)
    (place,) = (tmp_path / "cache" / "offsets").iterdir()
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_what_a_killed_process_left_is_swept_once_it_is_old(file, tmp_path):
    cache = OffsetCache(str(tmp_path / "cache"))
    cache.table(file)
    (place,) = (tmp_path / "cache" / "offsets").iterdir()
    old, new = (place.with_name(f"{place.name}.{name}") for name in ("old", "new"))
    for left in (old, new):
        left.write_text("")
    os.utime(old, (0, 0))
    place.unlink()
    cache.table(file)
    assert sorted(place.parent.iterdir()) == sorted([place, new])


def test_a_home_in_the_environment_is_expanded(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", "~/x")
    OffsetCache().table(file)
    assert (tmp_path / "me" / "x" / "offsets").is_dir()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("byte", [1, 5, 9])
def test_a_damaged_header_ends_the_table_there(file, byte):
    data = bytearray(Path(file).read_bytes())
    data[19 + 16 + byte] ^= 1  # in the third record's header
    Path(file).write_bytes(data)
    table = scan(file)
    assert table.ends.tolist() == [0, 19, 35]
    assert "damaged" in table.damage


def test_a_table_is_read_where_it_was_kept(file, tmp_path, monkeypatch):
    cache = OffsetCache(str(tmp_path / "cache"))
    made = cache.table(file)
    assert [f.name.count(".tmp") for f in (tmp_path / "cache" / "offsets").iterdir()] == [0]
    monkeypatch.setattr(offsets, "scan", lambda path: pytest.fail("made again"))
    assert (cache.table(file).ends == made.ends).all()
    assert len(made) == 4


def test_a_table_is_made_anew_for_another_state_of_the_file(file, tmp_path):
    cache = OffsetCache(str(tmp_path / "cache"))
    cache.table(file)
    status = os.stat(file)
    Path(file).write_bytes(Path(file).read_bytes() + framed(b"more"))
    assert len(cache.table(file)) == 5
    os.truncate(file, status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert len(cache.table(file)) == 4


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "head", "text"])
def test_a_damaged_table_is_made_anew(file, tmp_path, damage):
    cache = OffsetCache(str(tmp_path / "cache"))
    ends = cache.table(file).ends.tolist()
    (place,) = (tmp_path / "cache" / "offsets").iterdir()
    data = bytearray(place.read_bytes())
    flipped = bytearray(data)
    flipped[-9] ^= 1
    place.write_bytes(
        {"cut": data[:-3], "flip": flipped, "empty": b"", "head": data[:20], "text": b"?" * 200}[
            damage
        ]
    )
    assert cache.table(file).ends.tolist() == ends
    assert place.read_bytes() == data


def test_nothing_is_written_where_nothing_may_be(file, tmp_path):
    assert len(OffsetCache(str(tmp_path / "cache"), writable=False).table(file)) == 4
    assert not (tmp_path / "cache").exists()


def test_an_unwritable_folder_that_was_named_is_an_error(file, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match=r"cannot be kept in .*; give a cache_dir that can be"):
        OffsetCache(str(blocked)).table(file)


def test_an_unwritable_cache_folder_of_the_user_is_a_warning(file, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(blocked))
    with pytest.warns(UserWarning, match="set FEEDRACE_CACHE_DIR"):
        assert len(OffsetCache().table(file)) == 4


def test_a_write_that_fails_leaves_nothing(file, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DataError, match="disk full"):
        OffsetCache(str(tmp_path / "cache")).table(file)
    assert list((tmp_path / "cache" / "offsets").iterdir()) == []


def test_the_user_s_cache_folder_is_the_default(file, tmp_path, monkeypatch):
    monkeypatch.delenv("FEEDRACE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    OffsetCache().table(file)
    (place,) = (tmp_path / "home" / "feedrace" / "offsets").iterdir()
    assert stat.S_ISREG(place.stat().st_mode)
