"""Decoded blocks in memory: shared, bounded, and never decoded twice at a time."""

import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from conftest_files import table, write_parquet
from hypothesis import given
from hypothesis import strategies as st

from feedrace.plugin import DataError, usable_cpus
from feedrace_arrow.blocks import BlockContent
from feedrace_arrow.fields import Choices, plan
from feedrace_arrow.runs import runs_of

SIZE, COUNT = 10, 20


class Numbers:
    """Blocks of numbers, which count what is read; `wait` lets a test hold a read."""

    units = "blocks"

    def __init__(self):
        self.runs = runs_of([np.full(COUNT, SIZE)], row_bytes=4 << 20)  # so that none are joined
        self.read_blocks = []
        self.wait = lambda block: None

    def path(self, file):
        return "the file"

    def read(self, block):
        self.read_blocks.append(block)
        self.wait(block)
        return pa.table({"x": pa.array(range(block * SIZE, (block + 1) * SIZE), pa.int64())})

    def check(self, block):
        pass


def content_of(blocks, memory=None):
    schema = pa.schema([pa.field("x", pa.int64())])
    return BlockContent(blocks, plan(schema, Choices(), "the test", categories={}), memory)


def load(content, numbers):
    arrays = content.layout.allocate(len(numbers))
    assert content.load(np.array(numbers, np.int64), arrays) == []
    return arrays.values[0].tolist()


@given(st.lists(st.integers(0, SIZE * COUNT - 1), max_size=60), st.sampled_from([1, 200, None]))
def test_records_come_in_the_order_asked_for_whatever_fits(numbers, memory):
    content = content_of(Numbers(), memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(2):
            assert load(content, numbers) == numbers


def test_records_of_one_block_are_decoded_together_and_stay_in_memory():
    blocks = Numbers()
    content = content_of(blocks)
    rng = np.random.default_rng(0)
    for _ in range(5):
        load(content, rng.permutation(SIZE * COUNT))
    assert sorted(blocks.read_blocks) == list(range(COUNT))


def test_no_more_stays_in_memory_than_the_limit():
    blocks = Numbers()
    content = content_of(blocks, memory=3 * SIZE * 8)
    load(content, [0, 10, 20])
    load(content, [5, 15, 25])
    assert blocks.read_blocks == [0, 1, 2]
    load(content, [30])  # in place of block 0, the longest unused
    load(content, [10, 20])
    load(content, [0])
    assert blocks.read_blocks == [0, 1, 2, 3, 0]
    assert content._cache._nbytes <= 3 * SIZE * 8


def test_a_block_larger_than_the_limit_is_kept_as_the_only_one():
    blocks = Numbers()
    content = content_of(blocks, memory=1)
    load(content, [0, 1])
    load(content, [2])
    load(content, [10])
    assert blocks.read_blocks == [0, 1]


def test_threads_decode_a_block_once_and_others_meanwhile():
    blocks, begun, go = Numbers(), threading.Event(), threading.Event()

    def wait(block):
        if block == 0:
            begun.set()
            assert go.wait(60)

    blocks.wait = wait
    content = content_of(blocks)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load, content, [0, 3])
        assert begun.wait(60)
        second = pool.submit(load, content, [1, 11, 21])
        while 2 not in blocks.read_blocks:  # it goes on with what nobody decodes
            assert not second.done()
        go.set()
        assert (first.result(60), second.result(60)) == ([0, 3], [1, 11, 21])
    assert sorted(blocks.read_blocks) == [0, 1, 2]


def test_a_thread_that_is_interrupted_leaves_nobody_waiting():
    blocks = Numbers()

    def wait(block):
        raise KeyboardInterrupt

    blocks.wait = wait
    content = content_of(blocks)
    with pytest.raises(KeyboardInterrupt):
        load(content, [0])
    blocks.wait = lambda block: None
    assert load(content, [0]) == [0]


def test_a_block_that_cannot_be_decoded_is_not_tried_for_each_of_its_records():
    blocks = Numbers()

    def wait(block):
        raise OSError("broken")

    blocks.wait = wait
    content = content_of(blocks)
    for _ in range(3):
        failures = content.load(np.array([0, 1]), content.layout.allocate(2))
        assert [slot for slot, _ in failures] == [0, 1]
        assert all(isinstance(e, DataError) and "broken" in str(e) for _, e in failures)
    assert blocks.read_blocks == [0]


def test_an_order_that_decodes_a_block_for_each_record_is_warned_of_once():
    content = content_of(Numbers(), memory=2 * SIZE * 8)
    numbers = np.random.default_rng(0).permutation(SIZE * COUNT)
    with pytest.warns(RuntimeWarning, match=r"block-shuffle with block_size = 10") as caught:
        for number in numbers:
            load(content, [number])
    assert len(caught) == 1
    assert "feedrace convert" in str(caught[0].message)


def test_orders_that_use_what_they_decode_are_not_warned_of():
    content = content_of(Numbers(), memory=2 * SIZE * 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            for block in np.random.default_rng(0).permutation(COUNT):
                for row in range(SIZE):
                    load(content, [block * SIZE + row])


def test_describe_says_what_does_not_fit_and_what_to_do():
    assert len(content_of(Numbers()).describe()) == 1
    lines = content_of(Numbers(), memory=1000).describe()
    assert "blocks of up to 10 records, 20 in all" in lines[0]
    assert "block-shuffle with block_size = 10" in lines[1]


def test_a_copy_starts_empty_with_a_share_of_the_memory():
    content = content_of(Numbers())
    arguments = content.__reduce__()[1]
    assert arguments[2] == content._most // usable_cpus()
    assert content_of(Numbers(), memory=77).__reduce__()[1][2] == 77


def test_a_pickled_reader_reads_the_same(tmp_path, make):
    source = make("parquet", write_parquet(tmp_path / "a.parquet", table()), memory_limit=1000)
    numbers = np.array([7, 3, 39])
    expected = source.fetch(numbers)
    found = pickle.loads(pickle.dumps(source.reader())).fetch(numbers)
    assert found["text"].tolist() == expected["text"].tolist()
    assert found["id"].tolist() == [7, 3, 39]


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=5),
    st.integers(1, 1 << 22),
)
def test_blocks_hold_every_record_once_and_never_of_two_files(files, row_bytes):
    runs = runs_of([np.array(parts, np.int64) for parts in files], row_bytes)
    assert runs.starts[-1] == sum(map(sum, files))
    assert (np.diff(runs.starts) > 0).all()
    expected = [(n, row) for n, parts in enumerate(files) for row in range(sum(parts))]
    assert [runs.locate(number) for number in range(int(runs.starts[-1]))] == expected
    for block, (start, stop) in enumerate(zip(runs.starts, runs.starts[1:], strict=False)):
        file, first, last = runs.parts(block)
        assert sum(files[file][first:last]) == stop - start
        assert runs.locate(int(start)) == (file, sum(files[file][:first]))
        if last - first > 1 and sum(map(bool, files[file][first:last])) > 1:
            assert (stop - start) * row_bytes <= 8 << 20


def test_what_a_changed_file_gives_is_no_record_whatever_comes_of_it():
    blocks = Numbers()
    content = content_of(blocks)

    def changed(block):
        raise DataError("the file changed")

    blocks.check = changed
    for made in (pa.table({"x": [1] * SIZE}), pa.table({"other": [1] * SIZE}), None):
        blocks.read = lambda block, made=made: made
        content = content_of(blocks)
        with pytest.raises(DataError, match="the file changed"):
            content.load(np.array([0]), content.layout.allocate(1))
    blocks.check = lambda block: None
    with pytest.raises(TypeError):  # an error of this program's is one
        load(content_of(blocks), [0])
