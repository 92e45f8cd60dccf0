"""ArrayRecord files by number: by the library, and by ranges as of an address."""

import pickle
import random

import numpy as np
import pytest

from feedrace.errors import DataError
from feedrace.storage import array_record
from feedrace.storage.array_record import ArrayRecords, scan_array_record
from feedrace.storage.files import Storage
from feedrace.storage.highway import riegeli_hash
from feedrace.storage.ranges import Unreadable
from feedrace_testing.sample_files import write_array_record

OPTIONS = [
    "group_size:1",
    "group_size:1,uncompressed",
    "group_size:1,brotli",
    "group_size:1,snappy",
    "group_size:7",
    "group_size:1,pad_to_block_boundary:true",
    "group_size:50,transpose:true",
]


@pytest.fixture(params=[False, True], ids=["local", "by ranges"])
def by_ranges(request, monkeypatch):
    """Whether files of this machine are read as if they were at an address."""
    monkeypatch.setattr(array_record, "is_remote", lambda path: request.param)
    return request.param


def records_of(*paths):
    storage = Storage()
    files = storage.find([str(path) for path in paths])
    tables = [scan_array_record(storage.open(file)) for file in files]
    return ArrayRecords(storage, files, tables)


def read(records, numbers):
    found = dict(records.read(np.array(numbers)))
    return [found[place] for place in range(len(numbers))]


def some_records(count, seed=0):
    draw = random.Random(seed)
    return [draw.randbytes(draw.choice([0, 10, 300, 3000, 70_000])) for _ in range(count)]


@pytest.mark.parametrize("options", OPTIONS)
def test_records_come_back_in_any_order(tmp_path, by_ranges, options):
    wanted = some_records(60)
    write_array_record(tmp_path / "a", wanted[:40], options)
    write_array_record(tmp_path / "b", wanted[40:], options)
    records = records_of(tmp_path / "a", tmp_path / "b")
    assert len(records) == 60
    numbers = [59, 0, 3, 3, 39, 40, *random.Random(1).choices(range(60), k=30)]
    assert read(records, numbers) == [wanted[number] for number in numbers]
    assert records.locate(40) == (str(tmp_path / "b"), 0)
    assert read(pickle.loads(pickle.dumps(records)), [7]) == [wanted[7]]


@pytest.mark.parametrize("count", [0, 1])
def test_files_may_hold_one_record_or_none(tmp_path, by_ranges, count):
    write_array_record(tmp_path / "a", [b"x"] * count, "group_size:3")
    assert read(records_of(tmp_path / "a"), range(count)) == [b"x"] * count


def test_a_file_may_hold_fewer_records_than_it_should(tmp_path, by_ranges):
    write_array_record(tmp_path / "a", [b"one", b"two"])
    short = records_of(tmp_path / "a")
    records = ArrayRecords(Storage(), short.files, short.tables, [3])
    assert len(records) == 3
    found = read(records, [2, 1])
    assert found[1] == b"two"
    assert found[0].reason.endswith("2 records can be found in it")


def test_more_chunks_than_fit_in_a_small_file_are_read_in_parts(tmp_path, by_ranges, monkeypatch):
    monkeypatch.setattr(array_record, "_MOST_CHUNKS", 3)
    monkeypatch.setattr(array_record, "_MOST_BYTES", 100_000)
    wanted = some_records(20)
    write_array_record(tmp_path / "a", wanted)
    assert read(records_of(tmp_path / "a"), range(20)) == wanted


def test_a_damaged_chunk_is_unreadable_and_the_others_are_not(tmp_path, by_ranges):
    wanted = [bytes([65 + i]) * 500 for i in range(9)]
    write_array_record(tmp_path / "a", wanted, "group_size:2,uncompressed")
    content = bytearray((tmp_path / "a").read_bytes())
    content[content.index(wanted[5]) + 100] ^= 1
    (tmp_path / "a").write_bytes(content)
    found = read(records_of(tmp_path / "a"), range(9))
    assert [i for i, record in enumerate(found) if isinstance(record, Unreadable)] == [4, 5]
    assert [r for r in found if not isinstance(r, Unreadable)] == wanted[:4] + wanted[6:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"no file of this format" * 9000,
        lambda content: content[:-1],
        lambda content: content[: -(1 << 16)],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-(2 << 16)] + bytes(2 << 16),
    ],
)  # fmt: skip
def test_a_file_without_its_index_is_an_error(tmp_path, by_ranges, spoil):
    write_array_record(tmp_path / "a", some_records(20))
    (tmp_path / "a").write_bytes(spoil((tmp_path / "a").read_bytes()))
    with pytest.raises(DataError, match="is no ArrayRecord file, or is damaged or cut short"):
        records_of(tmp_path / "a")


def test_a_flipped_byte_anywhere_gives_the_record_or_an_error(tmp_path, by_ranges):
    wanted = [bytes([i]) * 20 for i in range(5)]
    write_array_record(tmp_path / "a", wanted)
    content = (tmp_path / "a").read_bytes()
    draw = random.Random(0)
    ends = [len(content) - (1 << 16), 1 << 16, 300]  # of the parts that hold something
    for trial in range(60):
        spoiled = bytearray(content)
        base = draw.choice([0, ends[0], 1 << 16]) % len(content)
        spoiled[base + draw.randrange(300)] ^= 1 << draw.randrange(8)
        path = tmp_path / f"spoiled-{trial}"
        path.write_bytes(spoiled)
        try:
            found = read(records_of(path), range(5))
        except DataError:
            continue
        assert all(isinstance(f, Unreadable) or f == w for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("size", [*range(1, 34), 100, 4000])
def test_our_hash_is_the_one_in_the_files(tmp_path, size):
    write_array_record(tmp_path / "a", [b"x" * size], "group_size:1,uncompressed")
    content = (tmp_path / "a").read_bytes()
    stored = int.from_bytes(content[72:80], "little")  # the size of the first chunk's data
    assert riegeli_hash(content[104 : 104 + stored]) == int.from_bytes(content[80:88], "little")
