"""Sources of files: records by number through kept tables, and one policy for bad records."""

import os
import pickle
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import feedrace
from feedrace.errors import ConfigError, DataError, StateError
from feedrace.plugin import (
    FileConfig,
    FileSource,
    Layout,
    Leaf,
    Ranges,
    RawContent,
    TableCache,
    Tables,
    chosen,
    storage_of,
)
from feedrace.storage import timing
from feedrace.storage.files import LocalFile

sys.path.insert(0, os.path.dirname(__file__))
import stored

COUNT = 40
PLAIN = ("label", "text")


class LinesSource(FileSource):
    def __init__(self, config, *, rngs=None, name=None):
        storage = storage_of(config)
        files = storage.find(config.path, [".txt"])
        columns = chosen(list(stored.LEAVES), config.columns, files[0].path)
        decoder = stored.LineDecoder(Layout([stored.LEAVES[name] for name in columns]))
        tables = Tables(TableCache(storage), "test-lines", files, stored.scan)
        content = RawContent(Ranges(storage, files, tables, stored.check), decoder)
        super().__init__(config, content, files, rngs=rngs, name=name)


def lines(path, **fields):
    """The source of these files."""
    return LinesSource(FileConfig(path=path, **fields))


BAD = (7, 18, 29)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))


def written(folder, bad=()):
    """A folder with forty records in three files, some of which are bad."""
    folder.mkdir(exist_ok=True)
    for name, first, last in (("a", 0, 10), ("b", 10, 25), ("c", 25, COUNT)):
        wrong = {7: "!7:x", 18: "18", 29: "x:29"}
        rows = [wrong[i] if i in bad else f"{i}:{'abc'[: i % 4]}" for i in range(first, last)]
        (folder / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows))
    return folder


@pytest.fixture
def good(tmp_path):
    return written(tmp_path / "good")


@pytest.fixture
def damaged(tmp_path):
    return written(tmp_path / "damaged", BAD)


def labels(records):
    return np.asarray(records["label"]).tolist()


def test_records_are_fetched_by_number_in_any_order(good):
    made = lines(good)
    records = made.fetch([39, 3, 3, 12])
    assert labels(records) == [39, 3, 3, 12]
    assert records["label"].dtype == np.int32
    assert records["text"].tolist() == ["abc", "abc", "abc", ""]
    assert [codes.tolist() for codes in records["codes"]] == [[97, 98, 99]] * 3 + [[]]
    assert made.length == len(made) == COUNT
    spec = made.element_spec()
    assert [(leaf.shape, str(leaf.dtype)) for leaf in spec.values()] == [
        ((), "int32"), ((), "object"), ((None,), "uint8")
    ]  # fmt: skip


@pytest.mark.parametrize("numbers", [[-1], [COUNT], [0, 10**9]])
def test_a_number_out_of_range_is_an_error(good, numbers):
    with pytest.raises(DataError, match=f"records go from 0 to {COUNT - 1}"):
        lines(good).fetch(numbers)


@pytest.mark.parametrize("workers", [0, 2, {"kind": "process", "count": 2}])
def test_a_shuffled_epoch_resumes_exactly_whoever_reads(good, workers):
    def pipeline():
        return feedrace.Pipeline(
            source=lines(good, columns=PLAIN, shuffle=True), batch_size=8, workers=workers
        )

    first = pipeline()
    batches, state = [], None
    for i, batch in enumerate(first):
        batches.append(labels(batch))
        state = first.get_state() if i == 1 else state
    assert sorted(np.concatenate(batches)) == list(range(COUNT))
    twin = pipeline()
    twin.set_state(state)
    assert [labels(batch) for batch in twin] == batches[2:]


def test_a_reader_is_pickled_without_tables_and_reads_without_jax(good):
    made = lines(good)
    wanted = made.fetch(np.arange(COUNT))
    sent = pickle.dumps(made.reader())
    assert len(sent) < 3000
    program = (
        "import pickle, sys\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "got = pickle.load(sys.stdin.buffer).fetch(list(range(40)))\n"
        "assert not {'jax', 'flax'} & sys.modules.keys()\n"
        "pickle.dump(got, sys.stdout.buffer)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    got = pickle.loads(done.stdout)
    assert labels(got) == labels(wanted)
    assert got["text"].tolist() == wanted["text"].tolist()


def test_a_bad_record_is_an_error_that_names_its_place_and_the_ways_out(damaged):
    made = lines(damaged)
    message = (
        r"record 18 \(record 8 of .*b.txt\): .*; replace the file, or .*'substitute' or 'skip'"
    )
    with pytest.raises(DataError, match=message):
        made.fetch([3, 18, 29])
    assert made.reader().noted() == []


def test_a_bad_record_may_be_substituted_by_the_next_good_one(damaged):
    made = lines(damaged, on_error="substitute", error_budget=3)
    expected = [i + 1 if i in BAD else i for i in range(COUNT)]
    assert labels(made.fetch(np.arange(COUNT))) == expected
    assert [bad.number for bad in made.bad_records] == list(BAD)
    assert [bad.reason for bad in made.bad_records] == [
        "it is marked as bad",
        "ValueError: not enough values to unpack (expected 2, got 1)",
        "ValueError: invalid literal for int() with base 10: b'x'",
    ]
    again = lines(damaged, on_error="substitute", error_budget=3)
    assert labels(again.fetch([29])) == [30]  # whatever was read before


def test_the_first_good_record_stands_in_for_a_bad_one_at_the_end(tmp_path):
    (tmp_path / "a.txt").write_text("0:a\n1:b\n!:c\n")
    assert labels(lines(tmp_path, on_error="substitute").fetch([2])) == [0]


def test_records_none_of_which_is_good_are_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("!\n!\n!\n")
    with pytest.raises(DataError, match=r"none of 3 records is good; the first bad one: record 1"):
        lines(tmp_path, on_error="substitute", error_budget=1.0).fetch([1])


def test_the_search_for_a_good_record_ends_with_the_budget(tmp_path):
    (tmp_path / "a.txt").write_text("!\n" * 30)
    made = lines(tmp_path, on_error="substitute", error_budget=2)
    with pytest.raises(DataError, match="3 records cannot be read, and error_budget allows 2"):
        made.fetch([0])


@pytest.mark.parametrize("workers", [0, 2, {"kind": "process", "count": 2}])
def test_skipped_records_are_left_out_of_batches_and_listed(damaged, workers):
    made = lines(damaged, columns=PLAIN, on_error="skip", error_budget=3)
    pipeline = feedrace.Pipeline(source=made, batch_size=8, workers=workers)
    seen = [np.asarray(b["label"])[np.asarray(b["valid_mask"])].tolist() for b in pipeline]
    assert np.concatenate(seen).tolist() == [i for i in range(COUNT) if i not in BAD]
    assert [bad.number for bad in made.bad_records] == list(BAD)


def test_skipped_records_are_left_out_of_iteration_and_get_batch(damaged):
    made = lines(damaged, on_error="skip", error_budget=3)
    good = [i for i in range(COUNT) if i not in BAD]
    assert [int(element["label"]) for element in made] == good
    assert made.epoch.get_value() == 1
    assert labels(made.get_batch(COUNT)) == good
    assert made.invalid_rows([6, 7, 8]).tolist() == [False, True, False]


def test_get_batch_ends_with_the_epoch(good):
    made = lines(good)
    sizes = [len(made.get_batch(16)["label"]) for _ in range(4)]
    assert sizes == [16, 16, 8, 16]


@pytest.mark.parametrize("budget", [2, 0.05, 0, 0.0])
def test_more_bad_records_than_the_budget_are_an_error_with_the_list(damaged, budget):
    made = lines(damaged, on_error="skip", error_budget=budget)
    with pytest.raises(DataError, match="records cannot be read, and error_budget") as caught:
        made.fetch(np.arange(COUNT))
    assert str(caught.value).count(".txt") == (3 if budget else 1)


def test_each_thread_is_given_what_its_own_fetch_met(damaged):
    reader = lines(damaged, on_error="skip").reader()
    both = threading.Barrier(2)
    noted, invalid = {}, {}

    def work(number):
        reader.fetch([number, 5])
        both.wait()
        noted[number] = [bad.number for bad in reader.noted()]
        invalid[number] = reader.invalid_rows([number, 5]).tolist()

    threads = [threading.Thread(target=work, args=(number,)) for number in (7, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted == {7: [7], 18: [18]}
    assert invalid == {7: [True, False], 18: [True, False]}
    assert reader.noted() == []


def test_kept_records_are_read_once_and_noted_as_if_they_were_read_again(damaged, monkeypatch):
    made = lines(damaged, on_error="substitute", cacheable=True, error_budget=3)
    reader = made.reader()
    for numbers in ([7, 8], [7], [5, 7]):
        assert labels(reader.fetch(numbers))[-1] == 8
        assert [bad.number for bad in reader.noted()] == [7]
    monkeypatch.setattr(type(made._content), "load", lambda *a: pytest.fail("read again"))
    assert labels(reader.fetch([8, 5])) == [8, 5]
    assert pickle.loads(pickle.dumps(reader)).kept == {}
    made.reset_cache()
    assert made.reader().kept == {}


def test_a_damaged_file_has_one_record_that_stands_for_its_rest(good):
    whole = (good / "b.txt").read_text().splitlines(keepends=True)
    (good / "b.txt").write_text("".join([*whole[:4], "#", *whole[4:]]))
    made = lines(good, on_error="skip")
    assert len(made) == COUNT - 10
    assert labels(made.fetch([13, 15])) == [13, 25]
    made.fetch([14])
    (bad,) = made.bad_records
    assert (bad.record, bad.reason) == (4, "a # begins it")
    # Its table is not kept, so that it goes with the reader.
    assert labels(pickle.loads(pickle.dumps(made.reader())).fetch([13, 15])) == [13, 25]


def test_a_file_with_fewer_records_than_told_has_bad_ones(good):
    made = lines(good)
    ranges = made._content.records
    storage, files, tables, check, _ = ranges.__reduce__()[1]
    told = Ranges(storage, files, tables, check, [12, 15, 15])
    assert len(told) == 42
    got = dict(told.read(np.array([13, 11, 9])))
    assert (got[0], got[2]) == (b"11:abc", b"9:a")
    assert got[1].reason == "the file is damaged or cut short: 10 records can be found in it"
    assert told.locate(13) == (str(good / "b.txt"), 1)


def test_a_record_that_lies_beyond_a_file_that_shrinks_while_it_is_read_is_bad(good, monkeypatch):
    monkeypatch.setattr(LocalFile, "check", lambda self: None)  # which is before it shrinks
    made = lines(good, on_error="skip", error_budget=20)
    made.fetch([0])
    made.fetch([39])
    os.truncate(good / "a.txt", 12)
    assert labels(made.fetch([0, 5, 1, 6, 39])) == [0, 0, 1, 0, 39]
    (bad, other) = made.bad_records
    assert (bad.number, other.number) == (5, 6)
    assert "a.txt ends at byte 12, before byte 24; it is cut short" in bad.reason


def test_tables_are_made_once_for_all_sources(good, monkeypatch):
    assert labels(lines(good).fetch([1])) == [1]
    monkeypatch.setattr(stored, "scan", lambda opened: pytest.fail("scanned again"))
    assert labels(lines(good).fetch([1])) == [1]


def test_tables_that_two_threads_ask_for_are_made_once(good):
    calls = []

    class Cache:
        writable = True

        def tables(self, kind, files, scan, *, version):
            calls.append(kind)
            return [scan(file) for file in files]

    tables = Tables(Cache(), "test", (1, 2), lambda file: file * 10)
    threads = [threading.Thread(target=lambda: tables[1]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls, len(tables), list(tables)) == (["test"], 2, [10, 20])


@pytest.mark.parametrize("writable", [True, False])
def test_tables_that_cannot_be_kept_go_with_a_pickled_reader(good, writable):
    class Cache:
        def __init__(self):
            self.writable = writable

    tables = Tables(Cache(), "test", (), len, loaded=lines(good)._content.records.tables[:])
    arguments = tables.__reduce__()[1]
    assert (arguments[-1] is None) == writable


def test_a_folder_without_records_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"LinesSource has no records; it was made of .*a\.txt"):
        lines(tmp_path)


def test_its_identity_is_that_of_the_contents_wherever_they_lie(good, tmp_path):
    identity = lines(good).identity()
    copy = written(tmp_path / "copy")
    assert lines(copy).identity() == identity
    (copy / "b.txt").write_text((copy / "b.txt").read_text().replace("12:", "21:"))
    assert lines(copy).identity() != identity
    assert lines([str(good / "b.txt"), str(good / "a.txt")]).identity() != identity


def test_a_state_is_refused_if_a_file_was_replaced(good):
    pipeline = feedrace.Pipeline(source=lines(good, columns=PLAIN), batch_size=8)
    next(iter(pipeline))
    state = pipeline.get_state()
    (good / "a.txt").write_text((good / "a.txt").read_text().replace("3:", "5:"))
    with pytest.raises(StateError):
        feedrace.Pipeline(source=lines(good, columns=PLAIN), batch_size=8).set_state(state)


def test_describe_says_how_records_are_found(good):
    assert lines(good).details() == [
        "records are found by number, through a table of where each begins"
    ]


def test_decoding_is_timed_by_itself(good):
    made = lines(good)
    assert made.decode_seconds == 0.0
    made.fetch(np.arange(COUNT))
    assert made.decode_seconds > 0.0


def test_threads_that_decode_together_count_once(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(now))
    clock = timing.DecodeClock()
    first, second = clock.begin(), clock.begin()
    clock.end(first, 1.0)
    clock.end(second, 2.0)  # 3 and 6 seconds of work within 7, of which 3 were reading
    assert clock.seconds == pytest.approx(7 * (1 - 3 / 9))


def test_a_number_that_does_not_fit_names_its_record(tmp_path):
    (tmp_path / "a.txt").write_text(f"1:a\n{2**40}:b\n")
    made = lines(tmp_path)
    with pytest.raises(DataError, match=r"record 1 \(record 1 of .*a.txt\): .*1099511627776"):
        made.fetch([0, 1])
    with jax.enable_x64(True):
        assert labels(made.fetch([1])) == [2**40]


def test_columns_are_chosen_by_name(tmp_path):
    names = ["label", "text", "codes"]
    assert chosen(names, None, "a.txt") == names
    assert chosen(names, ("codes", "label"), "a.txt") == ["codes", "label"]
    message = r"columns\[1\]: 'lable' is no column of a.txt; did you mean 'label'\?; it has label, "
    with pytest.raises(ConfigError, match=message):
        chosen(names, ("text", "lable"), "a.txt")


@pytest.mark.parametrize(
    ("field", "value"),
    [("path", ()), ("path", ""), ("path", 5), ("path", ["a", 3]), ("columns", ()),
     ("columns", "label"), ("columns", ["a", "a"]), ("on_error", "ignore"), ("error_budget", -1),
     ("error_budget", 1.5), ("error_budget", True), ("cache_bytes", -1),
     ("storage_options", {1: 2}), ("storage_options", "key")],
)  # fmt: skip
def test_a_config_of_files_is_checked(field, value):
    with pytest.raises(ConfigError, match=field):
        FileConfig(**{"path": "a", field: value})


def test_paths_in_a_config_are_expanded_one_by_one_and_written_back(monkeypatch, tmp_path):
    from feedrace.config.mapping import structure, unstructure

    monkeypatch.setenv("DATA", "/data")
    made = structure(FileConfig, {"path": ["$DATA/a", "b$$", tmp_path], "columns": ["x"]})
    assert made.path == ("/data/a", "b$", str(tmp_path))
    assert made.columns == ("x",)
    again = unstructure(made)
    assert again == {"path": ["/data/a", "b$$", str(tmp_path)], "columns": ["x"]}
    assert structure(FileConfig, again) == made
    assert structure(FileConfig, {"path": "$DATA"}).path == "/data"
    with pytest.raises(ConfigError, match=r"path\[1\].*NOTHING"):
        structure(FileConfig, {"path": ["a", "$NOTHING"]})


def test_secrets_of_a_store_are_not_shown(good):
    made = lines(good, storage_options={"secret": "hush"})
    assert "hush" not in repr(made.config) + repr(made)


def test_a_leaf_is_found_by_its_name_if_nothing_else_is_said():
    assert Leaf(("a", "b"), (), "int8").source == ("a", "b")
    assert Leaf(("a",), (), str).dtype.kind == "U"
    assert Layout([]).fields(wide=False) == {}


def test_a_shape_that_no_memory_holds_is_an_error_that_names_the_field():
    leaf = Leaf(name=("image",), shape=(2**30, 2**30), dtype=np.dtype(np.uint8))
    with pytest.raises(DataError, match=r"field 'image' has uint8 values of shape .*fit into mem"):
        leaf.allocate(4)
