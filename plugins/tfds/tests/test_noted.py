"""Bad records when several threads or processes read."""

import pickle
import shutil
import threading

import numpy as np
import pytest

import feedrace
from feedrace import create
from feedrace.errors import DataError

COUNT = 360
BAD = (70, 180, 290)


@pytest.fixture
def folder(digits, tmp_path, starts):
    """A folder whose test split has three damaged records."""
    copy = tmp_path / "copy"
    shutil.copytree(digits["tfrecord"], copy)
    shard = next(copy.glob("feedrace_digits/*/*test.*record-*"))
    damaged = bytearray(shard.read_bytes())
    places = starts(shard)
    for number in BAD:
        damaged[places[number] + 28] ^= 4
    shard.write_bytes(damaged)
    return str(copy)


def source(folder, **fields):
    return create("source", "tfds-streaming", name="feedrace_digits", split="test",
                  data_dir=folder, **fields)  # fmt: skip


WORKERS = [0, 1, 4, {"kind": "process", "count": 2}]


@pytest.mark.parametrize("on_error", ["substitute", "skip"])
@pytest.mark.parametrize("workers", WORKERS)
def test_the_budget_is_spent_at_the_same_step_whoever_reads(folder, on_error, workers):
    made = source(folder, on_error=on_error, error_budget=1)
    seen = []
    with pytest.raises(DataError) as caught:
        for batch in feedrace.Pipeline(source=made, batch_size=20, workers=workers):
            seen.append(np.asarray(batch["index"]))
    assert len(seen) == 180 // 20
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 records cannot be read, and error_budget allows 1:"
    assert [line.split(" (")[0] for line in lines[1:]] == ["record 70", "record 180"]


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_for_a_bad_record_names_it_at_its_step(folder, workers):
    seen = []
    with pytest.raises(DataError, match=r"record 70 \(record 70 of .*: its checksum") as caught:
        for batch in feedrace.Pipeline(source=source(folder), batch_size=20, workers=workers):
            seen.append(batch)
    assert len(seen) == 70 // 20
    assert "on_error = 'substitute'" in str(caught.value)


@pytest.mark.parametrize("workers", WORKERS)
def test_bad_records_of_all_readers_are_listed(folder, workers):
    made = source(folder, on_error="skip")
    pipeline = feedrace.Pipeline(source=made, batch_size=20, workers=workers)
    masks = [np.asarray(batch["valid_mask"]) for batch in pipeline]
    assert np.flatnonzero(~np.concatenate(masks)).tolist() == list(BAD)
    assert [bad.number for bad in made.bad_records] == list(BAD)


def test_a_reader_counts_nothing_and_notes_what_each_fetch_met(folder):
    made = source(folder, on_error="substitute", error_budget=0)
    reader = made.reader()
    for _ in range(2):  # again, although it is known by then
        reader.fetch(np.array([3, 70, 180]))
        assert [bad.number for bad in reader.noted()] == [70, 180]
        assert reader.noted() == []
    assert made.bad_records == ()
    with pytest.raises(DataError, match="error_budget allows 0"):
        made.note(pickle.loads(pickle.dumps(reader.fetch([70]) and reader.noted())))


def test_a_fetch_that_raised_leaves_nothing_noted(folder):
    reader = source(folder).reader()
    with pytest.raises(DataError, match="record 70 "):
        reader.fetch([70])
    assert reader.noted() == []


def test_a_fetch_decodes_in_its_own_thread_and_starts_none(data_dir, monkeypatch):
    made = source(data_dir, num_threads=8)
    decoder, threads = type(made._content.decoder), set()
    decode = decoder.decode
    monkeypatch.setattr(
        decoder, "decode", lambda *a: (threads.add(threading.get_ident()), decode(*a))[1]
    )
    before = threading.active_count()
    made.fetch(np.arange(COUNT))
    assert threads == {threading.get_ident()}
    assert threading.active_count() == before


@pytest.mark.parametrize("kind", ["tfds-eager", "tfds-streaming"])
def test_num_threads_load_and_read_ahead(data_dir, kind, monkeypatch):
    fields = {"prefetch_buffer": 3} if kind == "tfds-streaming" else {}
    made = create("source", kind, name="feedrace_digits", split="train", data_dir=data_dir,
                  num_threads=2, **fields)  # fmt: skip
    both = threading.Barrier(2)
    decoder, threads = type(made._content.decoder), []
    decode = decoder.decode

    def noting(*given):
        if len(threads) < 2:  # two are at work at a time, none of them this one
            threads.append(threading.get_ident())
            both.wait(timeout=60)
        return decode(*given)

    monkeypatch.setattr(decoder, "decode", noting)
    ids = [int(element["index"]) for element in made]
    assert len(set(ids)) == 1437
    assert len(set(threads)) == 2
    assert threading.get_ident() not in threads
