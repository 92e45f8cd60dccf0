"""Raw records of many remote files: fetched at the same time, and what is wrong with them."""

import threading

import numpy as np
import pytest

from feedrace.errors import DataError
from feedrace.storage import remote
from feedrace.storage.files import Storage
from feedrace.storage.ranges import Ranges, Unreadable
from feedrace.storage.retries import Retries
from feedrace.storage.tables import Table

pytest.importorskip("aiohttp")
servers = pytest.importorskip("feedrace_testing.servers")

FILES, RECORDS = 5, 4


@pytest.fixture
def server():
    files = {f"{f}": b"".join(b"%d-%d;" % (f, r) for r in range(RECORDS)) for f in range(FILES)}
    with servers.RangeServer(files) as made:
        yield made


def ranges(server, storage, damage=""):
    files = storage.find([f"{server.url}/{number}" for number in range(FILES)])
    arrays = {"starts": np.arange(RECORDS) * 4, "sizes": np.full(RECORDS, 3)}
    tables = [Table(arrays, damage if number == 1 else "") for number in range(FILES)]
    server.requests.clear()
    return Ranges(storage, files, tables)


def test_records_of_several_files_are_fetched_at_the_same_time(server, tmp_path):
    records = ranges(server, Storage(cache_dir=str(tmp_path)))
    together = threading.Barrier(FILES, timeout=10)
    server.fail(*[together.wait] * FILES)
    numbers = np.random.default_rng(0).permutation(FILES * RECORDS)
    found = dict(records.read(numbers))
    assert [found[place] for place in range(len(numbers))] == [
        b"%d-%d" % divmod(number, RECORDS) for number in numbers.tolist()
    ]
    assert len(server.requests) == FILES


def test_records_of_more_files_than_are_read_from_at_a_time_come(server, tmp_path, monkeypatch):
    monkeypatch.setattr("feedrace.storage.ranges._FILES", 2)
    records = ranges(server, Storage(cache_dir=str(tmp_path)))
    found = dict(records.read(np.arange(FILES * RECORDS)))
    assert [found[n] for n in range(FILES * RECORDS)] == [
        b"%d-%d" % divmod(n, RECORDS) for n in range(FILES * RECORDS)
    ]


def test_the_rest_of_a_damaged_file_is_unreadable_and_other_records_come(server, tmp_path):
    records = ranges(server, Storage(cache_dir=str(tmp_path)), "cut short")
    assert len(records) == FILES * RECORDS + 1
    found = dict(records.read(np.array([RECORDS, 2 * RECORDS, 2 * RECORDS + 1])))
    assert found == {0: b"1-0", 1: Unreadable("cut short"), 2: b"2-0"}


def test_a_store_that_fails_is_an_error_and_no_bad_record(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=lambda _: None))
    records = ranges(server, Storage(cache_dir=str(tmp_path)))
    server.broken = lambda request: 503
    with pytest.raises(DataError, match=f"of {server.url}/1 cannot be read: .*503.*6 tries"):
        list(records.read(np.array([RECORDS, RECORDS + 1])))
