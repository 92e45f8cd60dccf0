"""Records that cannot be read or decoded: raise, skip and substitute."""

import json
import os
import shutil

import google_crc32c
import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

import feedrace
from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace.storage.tfrecord import masked

COUNT = 360


def copy(data_dir, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(data_dir, folder)
    return str(folder), next(folder.glob("feedrace_digits/*/*test.*record-*"))


def source(folder, kind="tfds-streaming", split="test", **fields):
    return create("source", kind, name="feedrace_digits", split=split, data_dir=folder, **fields)


@pytest.fixture
def flipped(data_dir, tmp_path, starts):
    """A folder whose test split has a bit flipped in each of three records, and the file."""
    folder, shard = copy(data_dir, tmp_path)
    damaged = bytearray(shard.read_bytes())
    if "array" in shard.name:
        places = [len(damaged) * part // 20 for part in (2, 4, 6)]  # what follows is padding
    else:
        places = [starts(shard)[number] + 28 for number in (70, 180, 290)]
    for place in places:
        damaged[place] ^= 4
    shard.write_bytes(damaged)
    return folder, shard


def ids(batch):
    return np.asarray(batch["index"]).tolist()


@pytest.fixture
def stored(data_dir):
    """The `index` of each record of the test split as it was prepared."""
    return ids(source(data_dir).fetch(np.arange(COUNT)))


def test_a_bit_that_flipped_is_an_error_that_names_the_record(flipped):
    folder, shard = flipped
    with pytest.raises(DataError, match=rf"record \d+ \(record \d+ of .*{shard.name}\)") as caught:
        source(folder).fetch(np.arange(COUNT))
    assert "on_error = 'substitute'" in str(caught.value)
    with pytest.raises(DataError, match=shard.name):
        _ = source(folder, "tfds-eager").data


@pytest.mark.parametrize("kind", ["tfds-streaming", "tfds-eager"])
def test_substitute_keeps_shapes_and_counts(flipped, stored, kind):
    folder, shard = flipped
    made = source(folder, kind, on_error="substitute")
    got = made.fetch(np.arange(COUNT))
    bad = [record.number for record in made.bad_records]
    assert len(bad) == 3
    assert len(made) == len(got["index"]) == COUNT
    assert all(record.file.endswith(shard.name) and record.reason for record in made.bad_records)
    stand_in = {number: stored[number + 1] for number in bad}
    assert ids(got) == [stand_in.get(i, stored[i]) for i in range(COUNT)]
    again = source(folder, kind, on_error="substitute")
    assert ids(again.fetch(bad[-1:])) == [stand_in[bad[-1]]]


def test_the_last_record_is_substituted_by_the_first_good_one(digits, tmp_path, stored):
    folder, shard = copy(digits["tfrecord"], tmp_path)
    data = bytearray(shard.read_bytes())
    data[-2] ^= 1  # the checksum of the last record
    data[13] ^= 1  # the first record
    shard.write_bytes(data)
    made = source(folder, on_error="substitute")
    assert ids(made.fetch([COUNT - 1])) == [ids(source(digits["tfrecord"]).fetch([1]))[0]]
    assert [record.number for record in made.bad_records] == [0, COUNT - 1]


def test_skip_leaves_rows_out_of_batches_and_counts_as_they_were(flipped, stored):
    folder, _ = flipped
    made = source(folder, on_error="skip", shuffle=True)
    pipeline = feedrace.Pipeline(source=made, batch_size=64)
    seen, state = [], None
    for i, batch in enumerate(pipeline):
        mask = np.asarray(batch["valid_mask"])
        seen.append(np.asarray(batch["index"])[mask].tolist())
        if i == 2:
            state = pipeline.get_state()
    bad = {stored[record.number] for record in made.bad_records}
    assert len(bad) == 3
    assert sorted(np.concatenate(seen).tolist()) == sorted(set(stored) - bad)
    assert len(seen) == -(-COUNT // 64)
    twin = feedrace.Pipeline(source=source(folder, on_error="skip", shuffle=True), batch_size=64)
    twin.set_state(state)
    rest = [np.asarray(b["index"])[np.asarray(b["valid_mask"])].tolist() for b in twin]
    assert rest == seen[3:]


def test_skip_leaves_records_out_of_iteration_and_get_batch(flipped, stored):
    folder, _ = flipped
    made = source(folder, on_error="skip")
    seen = [int(element["index"]) for element in made]
    bad = [record.number for record in made.bad_records]
    assert seen == [value for i, value in enumerate(stored) if i not in bad]
    assert made.epoch.get_value() == 1
    batch = made.get_batch(COUNT)
    assert ids(batch) == seen
    assert made.invalid_rows(range(COUNT)).nonzero()[0].tolist() == bad


def test_an_eager_source_that_skips_has_fewer_records(flipped, stored):
    folder, _ = flipped
    made = source(folder, "tfds-eager", on_error="skip")
    assert len(made) == made.length == COUNT - 3
    bad = [record.number for record in made.bad_records]
    assert ids(made.fetch(np.arange(len(made)))) == [
        value for i, value in enumerate(stored) if i not in bad
    ]
    assert made.identity().endswith("without " + ", ".join(map(str, bad)))


@pytest.mark.parametrize("budget", [2, 0, 0.006, 0.0])
def test_a_budget_that_is_spent_is_an_error_with_the_list(flipped, budget):
    folder, shard = flipped
    with pytest.raises(DataError, match="records cannot be read, and error_budget") as caught:
        source(folder, on_error="substitute", error_budget=budget).fetch(np.arange(COUNT))
    assert str(caught.value).count(shard.name) == (3 if budget in (2, 0.006) else 1)


@pytest.mark.parametrize("budget", [-1, 1.5, "2", True, float("nan")])
def test_a_budget_is_a_count_or_a_share(budget):
    with pytest.raises(ConfigError, match="error_budget"):
        create("source", "tfds-streaming", name="d", split="train", error_budget=budget)


def test_a_file_cut_short_can_be_substituted_too(data_dir, tmp_path, stored):
    folder, shard = copy(data_dir, tmp_path)
    if "array" in shard.name:
        pytest.skip("an ArrayRecord file has its index at its end")
    shard.write_bytes(shard.read_bytes()[:-400])
    made = source(folder, on_error="substitute", error_budget=0.5)
    got = ids(made.fetch(np.arange(COUNT)))
    lost = len(made.bad_records)
    assert 1 <= lost < 10
    assert got == stored[: COUNT - lost] + [stored[0]] * lost
    assert "cut short" in made.bad_records[0].reason


@pytest.mark.parametrize("decoder", ["numpy", "tensorflow"])
def test_an_image_that_cannot_be_decoded_is_a_bad_record(digits, tmp_path, decoder):
    if decoder == "tensorflow":
        pytest.importorskip("tensorflow")
    folder, shard = copy(digits["tfrecord"], tmp_path)
    records = rewritten(shard, {5: lambda data: data.replace(b"\x89PNG", b"\x89PUG")})
    made = source(folder, on_error="skip", decoder=decoder)
    got = made.fetch(np.arange(records))
    assert [record.number for record in made.bad_records] == [5]
    assert made.invalid_rows([4, 5, 6]).tolist() == [False, True, False]
    assert not np.asarray(got["image"][5]).any()
    with pytest.raises(DataError, match="record 5 "):
        source(folder, decoder=decoder).fetch([4, 5])


def rewritten(shard, changes):
    """Write a TFRecord file anew, with some records changed and right checksums."""
    data, at, out, number = shard.read_bytes(), 0, b"", 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        record = changes.get(number, bytes)(data[at + 12 : at + 12 + length])
        head = len(record).to_bytes(8, "little")
        for part in (head, record):
            out += part + masked(google_crc32c.value(part)).to_bytes(4, "little")
        at, number = at + 16 + length, number + 1
    shard.write_bytes(out)
    return number


def replace_index(value):
    """Return a function that gives a stored record of the digits another `index`."""

    def change(data):
        made = tf_example_pb2.Example.FromString(data)
        made.features.feature["index"].int64_list.value[:] = [value]
        return made.SerializeToString()

    return change


@pytest.mark.parametrize("kind", ["tfds-streaming", "tfds-eager"])
def test_a_number_that_does_not_fit_is_an_error_that_names_the_record(digits, tmp_path, kind):
    folder, shard = copy(digits["tfrecord"], tmp_path)
    rewritten(shard, {7: replace_index(2**40)})
    message = rf"record 7 \(record 7 of .*{shard.name}\): field 'index' holds 1099511627776"
    with pytest.raises(DataError, match=message):
        source(folder, kind).fetch([3, 7, 9])


def test_a_split_without_any_good_record_is_an_error(digits, tmp_path):
    folder, shard = copy(digits["tfrecord"], tmp_path)
    rewritten(shard, {i: lambda data: b"\xff" * len(data) for i in range(COUNT)})
    made = source(folder, on_error="substitute", error_budget=1.0)
    with pytest.raises(DataError, match="none of 360 records is good"):
        made.fetch([0])
    with pytest.raises(DataError, match="has no good record"):
        source(folder, "tfds-eager", on_error="skip", error_budget=1.0)


def told(folder, change):
    """Change the lengths that a copied dataset's metadata tell."""
    place = next(folder.glob("feedrace_digits/*/dataset_info.json"))
    described = json.loads(place.read_text())
    for split in described["splits"]:
        split["shardLengths"] = [str(change(int(n))) for n in split["shardLengths"]]
    place.write_text(json.dumps(described))


@pytest.mark.parametrize("on_error", ["raise", "skip", "substitute"])
def test_records_that_the_metadata_do_not_count_are_an_error(data_dir, tmp_path, on_error):
    folder, shard = copy(data_dir, tmp_path)
    told(tmp_path / "copy", lambda count: count - 8)
    message = rf"{shard.name} holds 360 records, and the shardLengths .* say 352"
    for kind in ("tfds-streaming", "tfds-eager"):
        with pytest.raises(DataError, match=message):
            source(folder, kind, on_error=on_error).fetch([0])


def test_records_that_the_metadata_count_and_no_file_holds_are_an_error(data_dir, tmp_path):
    folder, shard = copy(data_dir, tmp_path)
    told(tmp_path / "copy", lambda count: count + 8)
    with pytest.raises(DataError, match=f"{shard.name}: the file is damaged or cut short: 360"):
        source(folder).fetch([0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_place_of_a_data_file_is_named(data_dir, tmp_path):
    folder, shard = copy(data_dir, tmp_path)
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(DataError, match=f"{shard.name} is not a regular file"):
        source(folder).fetch([0])


def test_a_file_that_shrinks_in_use_gives_bad_records(digits, tmp_path, stored, starts):
    folder, shard = copy(digits["tfrecord"], tmp_path)
    made = source(folder, on_error="substitute", error_budget=1.0)
    assert ids(made.fetch([0])) == stored[:1]
    os.truncate(shard, starts(shard)[100] - 12)
    assert ids(made.fetch([99, 100, 359])) == [stored[99], stored[0], stored[0]]
