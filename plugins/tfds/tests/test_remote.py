"""Datasets at addresses: found, read by number and resumed like local ones."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import feedrace
from feedrace import create
from feedrace.errors import DataError

fsspec = pytest.importorskip("fsspec")

COUNT = 360
HOME = "memory://bucket/data"


@pytest.fixture(autouse=True)
def own_blocks(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def store():
    """fsspec's file system in memory, empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.rm("/bucket", recursive=True) if memory.exists("/bucket") else None
    yield memory
    memory.rm("/bucket", recursive=True) if memory.exists("/bucket") else None


@pytest.fixture
def stored(store, data_dir):
    """A prepared dataset in a bucket in memory, and the folder that it is a copy of."""
    store.put(f"{data_dir}/feedrace_digits", "/bucket/data/feedrace_digits", recursive=True)
    return data_dir


def source(folder, split="test", **fields):
    return create("source", "tfds-streaming", name="feedrace_digits", split=split,
                  data_dir=str(folder), **fields)  # fmt: skip


def ids(batch):
    return np.asarray(batch["index"])[np.asarray(batch["valid_mask"])].tolist()


@pytest.mark.parametrize("fields", [{}, {"shuffle_mode": "buffer", "shuffle_buffer_size": 50}])
def test_a_dataset_at_an_address_is_read_by_number_like_a_local_one(stored, fields):
    made, local = (source(place, shuffle=True, **fields) for place in (HOME, stored))
    assert made.details()[0].startswith("records are found by number, through ")
    assert made.reader() is not None
    assert made.identity() == local.identity()
    pipelines = [feedrace.Pipeline(source=s, batch_size=32, workers=2) for s in (made, local)]
    for one, other in zip(*pipelines, strict=True):
        assert (np.asarray(one["index"]) == np.asarray(other["index"])).all()
        assert (np.asarray(one["image"]) == np.asarray(other["image"])).all()


def test_it_resumes_exactly_also_from_the_state_of_a_local_one(stored):
    batches, state = [], None
    pipeline = feedrace.Pipeline(source=source(stored, shuffle=True), batch_size=32)
    for i, batch in enumerate(pipeline):
        batches.append(ids(batch))
        state = pipeline.get_state() if i == 4 else state
    twin = feedrace.Pipeline(source=source(HOME, shuffle=True), batch_size=32)
    twin.set_state(state)
    assert [ids(batch) for batch in twin] == batches[5:]


def test_parts_of_splits_are_read_and_located(stored):
    made, local = (source(place, split="test[10:20]+train[-5:]+test[:3]")
                   for place in (HOME, stored))  # fmt: skip
    numbers = np.arange(18)[::-1]
    assert made.fetch(numbers)["index"].tolist() == local.fetch(numbers)["index"].tolist()
    (part, record), (last, first) = (made._content.locate(n) for n in (0, 15))
    assert (record, first, part) == (10, 0, last)
    assert part.startswith(f"{HOME}/feedrace_digits/1.0.0/feedrace_digits-test.")


def test_the_folder_of_one_version_may_be_at_an_address(stored):
    made = create("source", "tfds-streaming", split="test",
                  directory=f"{HOME}/feedrace_digits/1.0.0/")  # fmt: skip
    assert made.fetch([3])["index"].tolist() == source(stored).fetch([3])["index"].tolist()
    assert made.get_dataset_info().features["label"].num_classes == 10


def test_an_eager_source_is_loaded_from_an_address(stored):
    made = create("source", "tfds-eager", name="feedrace_digits", split="test", data_dir=HOME)
    assert sorted(made.data["index"].tolist()) == list(range(0, 1797, 5))


def test_a_dataset_with_configs_is_found_by_its_default_one(store, data_dir):
    there = "/bucket/data/feedrace_digits"
    store.put(f"{data_dir}/feedrace_digits/1.0.0", f"{there}/small/1.0.0", recursive=True)
    store.pipe(f"{there}/.config/metadata.json", b'{"default_config_name": "small"}')
    made = source(HOME)
    assert made._content.locate(0)[0].startswith(f"{HOME}/feedrace_digits/small/1.0.0/")
    assert len(made.fetch([0])["image"]) == 1


def test_tables_of_remote_files_are_kept(stored, monkeypatch):
    import feedrace_tfds.records as records

    source(HOME).fetch([0])
    for scan in ("scan_tfrecord", "scan_array_record"):
        monkeypatch.setattr(records, scan, lambda opened: pytest.fail("scanned again"))
    assert len(source(HOME).fetch([5])["index"]) == 1


def test_what_is_damaged_at_an_address_is_named(store, stored):
    (shard,) = store.glob("/bucket/data/feedrace_digits/1.0.0/*test.*")
    whole = store.cat(shard)
    name = shard.rpartition("/")[2]
    middle = len(whole) // 5
    store.pipe(shard, whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    with pytest.raises(DataError, match=rf"record \d+ of memory://bucket/data/.*/{name}\)"):
        source(HOME).fetch(np.arange(COUNT))
    made = source(HOME, on_error="skip")
    made.fetch(np.arange(COUNT))
    assert len(made.bad_records) == 1
    store.rm(shard)
    with pytest.raises(DataError, match=rf"{name}.* does not exist; prepare the dataset again"):
        source(HOME)
    store.pipe("/bucket/data/feedrace_digits/1.0.0/features.json", b"{")
    with pytest.raises(DataError, match=r"memory://bucket/data/.*/features.json is damaged"):
        source(HOME)


def test_a_file_that_changes_in_use_is_an_error_and_no_bad_record(store, stored):
    made = source(HOME, on_error="skip")
    (shard,) = store.glob("/bucket/data/feedrace_digits/1.0.0/*test.*")
    store.pipe(shard, store.cat(shard))
    with pytest.raises(DataError, match="changed since it was found"):
        made.fetch(np.arange(COUNT))


def test_a_dataset_that_is_not_there_is_an_error_that_names_the_address(store):
    with pytest.raises(DataError, match=f"not prepared in {HOME}, and local_files_only"):
        source(HOME, local_files_only=True)
    with pytest.raises(DataError, match=r"memory://bucket/none.* does not exist"):
        create("source", "tfds-streaming", split="test", directory="memory://bucket/none")


PROGRAM = """
import json, sys
import numpy as np, feedrace
made = feedrace.create("source", "tfds-streaming", split="test", directory=sys.argv[1])
print(json.dumps(made.fetch(np.arange(0, 360, 7))["index"].tolist()))
assert "tensorflow" not in sys.modules
"""


def test_a_server_of_http_is_no_data_dir():
    with pytest.raises(DataError, match=r"is not found in data_dir; .*`directory`"):
        create("source", "tfds-streaming", name="feedrace_digits", split="test",
               data_dir="http://127.0.0.1:1/data")  # fmt: skip


def test_a_server_of_http_is_enough_and_tensorflow_is_not_needed(digits):
    pytest.importorskip("aiohttp")
    from feedrace_testing import servers

    folder = Path(digits["tfrecord"], "feedrace_digits", "1.0.0")
    with servers.RangeServer(folder) as server:
        done = subprocess.run([sys.executable, "-c", PROGRAM, server.url],
                              capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = source(digits["tfrecord"]).fetch(np.arange(0, 360, 7))["index"].tolist()
    assert json.loads(done.stdout) == wanted
