"""Reading remote files by ranges: blocks, retries, faults, files that change underneath."""

import gc
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from feedrace.errors import DataError
from feedrace.storage import remote
from feedrace.storage.blocks import BLOCK
from feedrace.storage.files import Storage
from feedrace.storage.retries import Retries

pytest.importorskip("aiohttp")
servers = pytest.importorskip("feedrace_testing.servers")

CONTENT = np.random.default_rng(0).bytes(9 * BLOCK + 1000)


@pytest.fixture
def server():
    with servers.RangeServer({"a.bin": CONTENT, "small.bin": CONTENT[:1000]}) as made:
        yield made


@pytest.fixture
def storage(tmp_path):
    return Storage(cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited for between tries; none of them passes."""
    waited, now = [], [0.0]

    def sleep(seconds):
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(remote, "RETRIES", Retries(sleep=sleep, clock=lambda: now[0]))
    return waited


def opened(storage, server, name="a.bin"):
    (file,) = storage.find(f"{server.url}/{name}")
    server.requests.clear()
    return storage.open(file)


def asked(server):
    """Return the blocks that each request asked for."""
    return sorted((r.first // BLOCK, -(-(r.last + 1) // BLOCK)) for r in server.requests)


def test_ranges_come_as_they_are_in_the_file_and_in_their_order(server, storage):
    file = opened(storage, server)
    rng = np.random.default_rng(1)
    starts = rng.integers(0, len(CONTENT), 300)
    sizes = np.minimum(rng.integers(0, 3 * BLOCK, 300) * (rng.random(300) < 0.1), BLOCK * 3)
    sizes = np.minimum(sizes + rng.integers(0, 2000, 300), len(CONTENT) - starts)
    for start, size, data in zip(starts, sizes, file.read_many(starts, sizes), strict=True):
        assert data == CONTENT[start : start + size]
        assert file.read(int(start), int(size)) == data


def test_neighbouring_blocks_are_one_request_and_no_block_is_fetched_twice(server, storage):
    file = opened(storage, server)
    starts = np.array([5, 3, 0, 1, 5]) * BLOCK
    list(file.read_many(starts, np.full(5, 10)))
    assert asked(server) == [(0, 2), (3, 4), (5, 6)]
    assert file.read(0, 4 * BLOCK) == CONTENT[: 4 * BLOCK]
    assert (2, 3) in asked(server)
    again = Storage(cache_dir=storage.cache_dir)  # as another process would
    done = len(server.requests)
    assert again.open(file.file).read(3 * BLOCK, BLOCK) == CONTENT[3 * BLOCK : 4 * BLOCK]
    assert len(server.requests) == done


def test_many_windows_of_ranges_follow_one_another(server, storage, monkeypatch):
    monkeypatch.setattr(remote, "_WINDOW", 2)
    file = opened(storage, server)
    for _ in "ab":  # fetched, and kept
        starts = np.tile(np.arange(9) * BLOCK, 5)
        got = list(file.read_many(starts, np.full(45, 1000)))
        assert got == [CONTENT[start : start + 1000] for start in starts]
        assert list(file.read_many(starts[:0], starts[:0])) == []


def test_the_first_requests_are_made_before_the_first_range_is_asked_for(server, storage):
    file = opened(storage, server)
    both = threading.Barrier(3, timeout=10)
    server.fail(both.wait, both.wait)
    reading = file.read_many(np.array([0, 2]) * BLOCK, np.array([5, 5]))
    both.wait()
    assert next(reading) == CONTENT[:5]


def test_requests_run_in_parallel(server, storage):
    file = opened(storage, server)
    together = threading.Barrier(5, timeout=10)
    server.fail(*[together.wait] * 5)
    got = list(file.read_many(np.arange(0, 10, 2) * BLOCK, np.full(5, 10)))
    assert len(got) == 5


def test_threads_that_want_the_same_block_share_a_request(server, storage):
    file = opened(storage, server)
    begun, go_on = threading.Event(), threading.Event()
    server.fail(lambda: (begun.set(), go_on.wait(10)))
    got = []
    threads = [threading.Thread(target=lambda: got.append(file.read(7, 10))) for _ in "ab"]
    threads[0].start()
    assert begun.wait(10)
    with file._lock:
        assert 0 in file._coming
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert got == [CONTENT[7:17]] * 2
    assert asked(server) == [(0, 1)]


def test_reads_that_follow_one_another_are_fetched_ahead(server, storage):
    file = opened(storage, server)
    file.read(0, 10)
    for future in list(file._coming.values()):
        future.result()
    done = len(server.requests)
    assert file.read(8 * BLOCK, BLOCK) == CONTENT[8 * BLOCK : 9 * BLOCK]
    assert len(server.requests) == done


def test_a_file_object_reads_and_seeks(server, storage):
    with opened(storage, server).binary() as file:
        assert file.read() == CONTENT
        assert file.seek(-10, 2) == len(CONTENT) - 10
        assert file.read(20) == CONTENT[-10:]
        file.seek(BLOCK)
        assert file.read(5) == CONTENT[BLOCK : BLOCK + 5]


@pytest.mark.parametrize(("start", "size"), [(-1, 5), (len(CONTENT) - 5, 6), (5, -1)])
def test_what_is_not_in_the_file_is_an_error(server, storage, start, size):
    file = opened(storage, server)
    with pytest.raises(DataError, match=f"of {server.url}/a.bin cannot be read: it has"):
        file.read(start, size)
    with pytest.raises(DataError, match="cannot be read: it has"):
        list(file.read_many(np.array([start]), np.array([size])))
    assert server.requests == []


@pytest.mark.parametrize("fault", [500, 503, 429, "cut"])
def test_what_may_pass_is_tried_again(server, storage, waits, fault):
    file = opened(storage, server, "small.bin")
    server.fail(fault, fault, fault)
    assert file.read(10, 20) == CONTENT[10:30]
    assert len(server.requests) == 4
    assert len(waits) == 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0 <= waits[2] <= 2.0


def test_a_broken_connection_is_tried_again(server, storage, waits):
    file = opened(storage, server, "small.bin")
    server.fail(*["reset"] * 4)
    assert file.read(10, 20) == CONTENT[10:30]
    assert waits  # aiohttp tries again itself if a connection breaks that it had kept


def test_a_store_that_asks_for_patience_is_not_asked_before(server, storage, waits, monkeypatch):
    file = opened(storage, server, "small.bin")
    monkeypatch.setattr(server, "retry_after", "9")
    server.fail(429)
    assert file.read(10, 20) == CONTENT[10:30]
    assert waits == [9.0]


def test_a_slow_answer_is_given_up_and_asked_for_again(server, storage, monkeypatch):
    file = opened(storage, server, "small.bin")
    monkeypatch.setattr(remote, "RETRIES", Retries(at_once=0.1, sleep=lambda _: None))
    done = threading.Event()
    server.fail(lambda: done.wait(10))
    try:
        assert file.read(10, 20) == CONTENT[10:30]
    finally:
        done.set()


def test_the_error_after_the_last_try_names_address_range_and_tries(server, storage, waits):
    file = opened(storage, server)
    server.broken = lambda request: 503
    with pytest.raises(DataError) as caught:
        file.read(3 * BLOCK + 5, 10)
    text = str(caught.value)
    assert f"bytes {3 * BLOCK} to {4 * BLOCK} of {server.url}/a.bin cannot be read" in text
    assert "the server answers 503" in text
    assert "6 tries" in text
    server.broken = lambda request: None
    assert file.read(3 * BLOCK + 5, 10) == CONTENT[3 * BLOCK + 5 :][:10]  # nothing is left behind


def test_all_tries_together_have_a_limit(server, storage, monkeypatch):
    file = opened(storage, server)
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    slow = Retries(tries=1000, first=10, limit=25, sleep=sleep, clock=lambda: now[0])
    monkeypatch.setattr(remote, "RETRIES", slow)
    server.broken = lambda request: 503
    with pytest.raises(DataError, match="tries in"):
        file.read(3 * BLOCK, 10)
    assert now[0] <= 25
    assert 2 <= len(server.requests) <= 4


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "answers 403; give a header"), (404, "not there any more"), (410, "not there any more"),
     (400, "answers 400"), (416, "changed since it was found")],
)  # fmt: skip
def test_what_will_not_pass_is_not_tried_again(server, storage, waits, status, words):
    file = opened(storage, server)
    server.broken = lambda request: status
    with pytest.raises(DataError, match=words) as caught:
        file.read(3 * BLOCK, 10)
    assert f"{server.url}/a.bin" in str(caught.value)
    assert len(server.requests) == 1
    assert waits == []


@pytest.mark.parametrize(
    "new",
    [CONTENT[::-1], CONTENT[:-1], CONTENT + b"x", CONTENT[: 2 * BLOCK]],
    ids=["other", "shorter", "longer", "much-shorter"],
)
def test_a_file_that_changes_underneath_is_an_error_and_its_bytes_are_not_mixed(
    server, storage, waits, new
):
    file = opened(storage, server)
    assert file.read(0, 10) == CONTENT[:10]
    for future in list(file._coming.values()):
        future.result()
    other = Storage(cache_dir=f"{storage.cache_dir}/other").open(file.file)
    server.files = {"a.bin": new}
    with pytest.raises(DataError, match=rf"{server.url}/a\.bin changed since it was found"):
        other.read(4 * BLOCK, 10)
    (found,) = storage.find(f"{server.url}/a.bin")
    assert found != file.file
    assert storage.open(found).read(BLOCK, 10) == new[BLOCK : BLOCK + 10]


def test_without_a_version_another_size_is_a_change(storage, waits):
    with servers.RangeServer({"a.bin": CONTENT}, etags=False) as server:
        file = opened(storage, server)
        server.files = {"a.bin": CONTENT[:-1]}
        with pytest.raises(DataError, match="changed since it was found"):
            file.read(4 * BLOCK, 10)


def test_a_server_that_ignores_ranges_is_an_error_unless_the_file_is_small(storage):
    files = {"a.bin": CONTENT, "small.bin": CONTENT[:1000]}
    with servers.RangeServer(files, ranges=False) as server:
        with pytest.raises(DataError, match="ignores ranges"):
            storage.find(f"{server.url}/a.bin")
        file = opened(storage, server, "small.bin")
        assert file.read(10, 20) == CONTENT[10:30]


def test_a_server_that_stops_to_give_ranges_is_an_error(server, storage, waits):
    file = opened(storage, server)
    server.ranges = False
    with pytest.raises(DataError, match="ignores ranges"):
        file.read(4 * BLOCK, 10)


def test_headers_of_the_user_are_sent(server, tmp_path):
    options = {"headers": {"Authorization": "Bearer secret"}}
    storage = Storage(options, cache_dir=str(tmp_path))
    storage.open(*storage.find(f"{server.url}/a.bin")).read(0, 10)
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret"}
    assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


def test_secrets_in_an_address_are_neither_shown_nor_in_names_of_files(server, storage, tmp_path):
    address = f"{server.url}/a.bin?signature=secret".replace("//", "//me:word@")
    (file,) = storage.find(address)
    assert storage.open(file).read(0, 10) == CONTENT[:10]
    server.broken = lambda request: 403
    with pytest.raises(DataError) as caught:
        Storage(cache_dir=f"{storage.cache_dir}/other").open(file).read(0, 10)
    assert "secret" not in str(caught.value)
    assert "word" not in str(caught.value)
    names = "".join(path.name for path in tmp_path.rglob("*"))
    assert "secret" not in names
    assert "word" not in names


def test_a_pickled_storage_reads_in_another_process_what_this_one_has_kept(server, storage):
    file = opened(storage, server)
    assert file.read(0, BLOCK) == CONTENT[:BLOCK]
    for future in list(file._coming.values()):
        future.result()
    done = len(server.requests)
    program = (
        "import pickle, sys\nstorage, file = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(storage.open(file).read(5, 100))\n"
        "assert 'jax' not in sys.modules\n"
    )
    given = pickle.dumps((storage, file.file))
    ran = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True)
    assert ran.stdout == CONTENT[5:105], ran.stderr
    assert len(server.requests) == done


def test_a_request_that_hangs_does_not_hold_up_the_end_of_the_program(server, storage):
    file = opened(storage, server)
    done = threading.Event()
    server.broken = lambda request: lambda: done.wait(60)
    program = (
        "import pickle, sys\nimport numpy as np\nstorage, file = pickle.load(sys.stdin.buffer)\n"
        "reading = storage.open(file).read_many(np.array([0, 10**6]), np.array([5, 5]))\n"
        "print('asked')\n"
    )
    given = pickle.dumps((storage, file.file))
    try:
        ran = subprocess.run(
            [sys.executable, "-c", program], input=given, capture_output=True, timeout=30
        )
    finally:
        done.set()
    assert (ran.stdout, ran.returncode) == (b"asked\n", 0)


def test_threads_end_with_the_storage(server, tmp_path):
    def threads():
        return {t for t in threading.enumerate() if t.name.startswith("feedrace-remote")}

    before = threads()
    storage = Storage(cache_dir=str(tmp_path))
    assert opened(storage, server).read(0, 10) == CONTENT[:10]
    made = threads() - before
    assert made
    del storage
    gc.collect()
    for thread in made:
        thread.join(10)
    assert not any(thread.is_alive() for thread in made)


def test_reading_goes_on_without_a_folder_for_blocks(server, tmp_path):
    (tmp_path / "file").write_text("")
    storage = Storage(cache_dir=str(tmp_path / "file"))
    file = opened(storage, server)
    with pytest.warns(RuntimeWarning, match="give a cache_dir that can be written"):
        assert file.read(BLOCK, 3 * BLOCK) == CONTENT[BLOCK : 4 * BLOCK]
    assert file.read(BLOCK, 3 * BLOCK) == CONTENT[BLOCK : 4 * BLOCK]
