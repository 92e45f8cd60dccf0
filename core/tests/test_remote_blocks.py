"""The cache of blocks on the local disk: bounded, checked, shared."""

import gc
import os
import sys
import threading

import numpy as np
import pytest

from feedrace.storage import blocks
from feedrace.storage.blocks import _DATA, BLOCK, BlockCache, digest
from feedrace.storage.files import File

EXTENT = 128 * BLOCK
DATA = np.random.default_rng(0).bytes(BLOCK)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blocks"


def made(folder, most=1 << 30):
    return BlockCache(str(folder), most)


def extents(folder):
    """Return the paths of the extents by name."""
    return {path.name: path for path in folder.glob("*/*")}


def test_what_was_written_is_read_across_blocks_and_extents(folder):
    cache = made(folder)
    for block in (126, 127, 128, 129):
        cache.write("x", block, DATA)
    whole = DATA * 4
    for one in (cache, made(folder)):
        assert one.read("x", 126 * BLOCK, 4 * BLOCK) == whole
        assert one.read("x", EXTENT - 5, 10) == DATA[-5:] + DATA[:5]
        assert one.read("x", 126 * BLOCK - 1, 5) is None
        assert one.read("x", 130 * BLOCK - 1, 2) is None
        assert one.read("y", 126 * BLOCK, 5) is None
        assert [b for b in range(124, 132) if one.has("x", b)] == [126, 127, 128, 129]
        assert one.read("x", 5, 0) == b""


def test_a_short_last_block_is_read_as_far_as_it_goes(folder):
    cache = made(folder)
    cache.write("x", 0, DATA[:100])
    assert cache.read("x", 90, 10) == DATA[90:100]
    assert cache.read("x", 90, 11) is None


@pytest.mark.parametrize("at", [0, 5, _DATA, _DATA + BLOCK - 1])
def test_a_damaged_block_is_not_served(folder, at):
    made(folder).write("x", 0, DATA)
    made(folder).write("x", 1, DATA)
    (path,) = extents(folder).values()
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 255]))
    cache = made(folder)
    assert cache.read("x", 0, 10) is None
    assert not cache.has("x", 0)
    assert cache.read("x", BLOCK, BLOCK) == DATA  # its neighbour is whole
    cache.write("x", 0, DATA)
    assert made(folder).read("x", 0, BLOCK) == DATA


@pytest.mark.parametrize("size", [0, 3, _DATA, _DATA + 5, _DATA + BLOCK - 1])
def test_a_cut_block_is_not_served(folder, size):
    made(folder).write("x", 0, DATA)
    (path,) = extents(folder).values()
    os.truncate(path, size)
    assert made(folder).read("x", 0, 1) is None


def test_a_block_that_is_cut_while_it_is_open_is_not_served(folder):
    cache = made(folder)
    cache.write("x", 0, DATA)
    (path,) = extents(folder).values()
    os.truncate(path, _DATA + 5)
    assert cache.read("x", 0, BLOCK) is None
    assert not cache.has("x", 0)


def test_a_block_without_its_entry_is_not_there(folder):
    """What a process leaves that is killed before it wrote the entry."""
    made(folder).write("x", 0, DATA)
    (path,) = extents(folder).values()
    with open(path, "r+b") as file:
        file.write(bytes(8))
    assert made(folder).read("x", 0, 1) is None


def used(folder):
    return sum(path.stat().st_blocks * 512 for path in extents(folder).values())


def test_the_cache_is_bounded_and_what_was_used_least_recently_goes_first(folder):
    most = 10 * (BLOCK + _DATA)
    cache = made(folder, most)
    for number in range(9):
        cache.write(f"{number}", 0, DATA)
        os.utime(extents(folder)[f"{number}-0"], ns=(number, number))
    made(folder, most).read("0", 0, 1)  # used again, by another process
    for number in range(9, 12):
        cache.write(f"{number}", 0, DATA)
        assert used(folder) <= most
    left = set(extents(folder))
    assert {"0-0", "11-0"} <= left
    assert "1-0" not in left


def test_a_cache_of_no_bytes_keeps_nothing(folder):
    cache = made(folder, 0)
    cache.write("x", 0, DATA)
    assert not folder.exists()
    assert cache.read("x", 0, 1) is None


def test_a_cache_of_several_processes_is_bounded_as_one(folder):
    most = 10 * (BLOCK + _DATA)
    caches = [made(folder, most) for _ in range(4)]
    for number in range(40):
        caches[number % 4].write(f"{number}", 0, DATA)
        assert used(folder) <= most


def test_blocks_that_are_smaller_than_the_bound_do_not_count_as_more(folder):
    cache = made(folder, 100 * 2 * _DATA)
    for number in range(60):
        cache.write(f"{number}", 0, b"small")
    assert len(extents(folder)) == 60


def test_extents_that_another_process_removed_are_closed(folder):
    first, second = made(folder), made(folder)
    for number in range(5):
        first.write(f"{number}", 0, DATA)
    for path in extents(folder).values():
        path.unlink()
    assert len(first._extents) == 5
    for number in range(5):
        first.write("x", number, DATA)
    assert set(first._extents) == {("x", 0)}
    assert first.read("0", 0, 10) is None
    assert second.read("x", 0, 10) == DATA[:10]


def test_a_block_that_was_removed_is_written_again_for_all(folder):
    cache = made(folder)
    cache.write("x", 0, DATA)
    (path,) = extents(folder).values()
    path.unlink()
    cache.write("x", 1, DATA)
    assert made(folder).read("x", BLOCK, 5) == DATA[:5]
    assert made(folder).read("x", 0, 5) is None


def test_threads_and_processes_write_and_read_together(folder):
    contents = [np.random.default_rng(i).bytes(BLOCK) for i in range(4)]
    most = 3 * BLOCK
    wrong = []

    def work(seed):
        cache = made(folder, most)
        for block in np.random.default_rng(seed).integers(0, 4, 100).tolist():
            data = cache.read(f"{block}", 0, BLOCK)
            if data is None:
                cache.write(f"{block}", 0, contents[block])
            elif data != contents[block]:
                wrong.append(block)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_name_of_blocks_depends_on_address_size_and_version_and_shows_none():
    given = [("http://x/secret", 5, "v"), ("http://x/y", 5, "v"), ("http://x/y", 6, "v"),
             ("http://x/y", 5, "w")]  # fmt: skip
    files = [File(*one) for one in given]
    names = [digest(file) for file in files]
    assert len(set(names)) == 4
    assert all(set(name) <= set("0123456789abcdef") for name in names)
    assert names == [digest(file) for file in files]


def test_extents_close_when_their_module_is_gone_as_at_the_end_of_a_program(folder, monkeypatch):
    cache = made(folder)
    cache.write("a", 0, DATA)
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    monkeypatch.setattr(blocks, "os", None)
    del cache
    gc.collect()
    assert raised == []
