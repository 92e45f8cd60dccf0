"""`on_error` holds for records that can be read, and that a record stage cannot decode."""

import io
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import feedrace
from feedrace import record
from feedrace.errors import DataError
from feedrace.plugin import all_records

COUNT = 14
CUT, EMPTY = (5, 7, 13), 6  # found by a stage; found when it is read
FUSED = [{"use": "decode-image"}, {"use": "random-resized-crop", "size": [8, 6]}]
WHOLE = [{"use": "decode-image"}, {"use": "resize", "size": [8, 6]}]
APART = [{"use": "decode-image"}, {"use": "random-flip"}, {"use": "resize", "size": [8, 6]}]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))


def photograph(i):
    file = io.BytesIO()
    small = np.random.default_rng(i).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    Image.fromarray(small).resize((30 + i, 40), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def written(folder, contents):
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"{i:02d}.jpg").write_bytes(content)
    return str(folder)


@pytest.fixture
def damaged(tmp_path):
    contents = [photograph(i)[:-200] if i in CUT else photograph(i) for i in range(COUNT)]
    contents[EMPTY] = b""
    return written(tmp_path / "damaged", contents)


@pytest.fixture
def repaired(tmp_path):
    """Each bad photograph is the next good one."""
    instead = {5: 8, 6: 8, 7: 8, 13: 0}
    return written(tmp_path / "repaired", [photograph(instead.get(i, i)) for i in range(COUNT)])


def source_of(path, **fields):
    return {"use": "image-folder", "path": path, "columns": ["image"], "error_budget": 4, **fields}


def made(source, stages=FUSED, **fields):
    options = {
        "sampler": {"use": "epoch-aware", "num_epochs": 2},
        "batch_size": 4,
        "seed": 3,
        **fields,
    }
    return feedrace.build({"source": source, "stages": stages, **options})


def served(pipeline):
    """Each batch, with the numbers of its records."""
    return [
        (step.indices.tolist(), jax.tree.map(np.array, step.batch)) for step in pipeline.steps()
    ]


def same(ours, theirs):
    assert [numbers for numbers, _ in ours] == [numbers for numbers, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        for name in ("image", "valid_mask"):
            assert np.array_equal(one[name], other[name])


def source_in(pipeline):
    return pipeline.components()["source"][1]


def bad_of(pipeline):
    return [bad.number for bad in source_in(pipeline).bad_records]


@pytest.mark.parametrize("stages", [FUSED, APART])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_good_record_takes_the_place_of_one_that_cannot_be_decoded(
    damaged, repaired, stages, workers
):
    pipeline = made(source_of(damaged, on_error="substitute"), stages, workers=workers)
    same(served(pipeline), served(made(source_of(repaired), stages)))
    assert bad_of(pipeline) == [5, 6, 7, 13]
    reasons = [bad.reason for bad in source_in(pipeline).bad_records]
    assert "cannot be decoded" in reasons[0]
    assert reasons[1] == "the file is empty"


@pytest.mark.parametrize("stages", [FUSED, APART])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_that_cannot_be_decoded_is_left_out(damaged, repaired, stages, workers):
    pipeline = made(source_of(damaged, on_error="skip"), stages, workers=workers)
    expected = served(made(source_of(repaired), stages))
    for numbers, batch in expected:
        lost = np.isin(numbers, [*CUT, EMPTY])
        batch["valid_mask"][: len(lost)] &= ~lost
        batch["image"][: len(lost)][lost] = 0
    same(served(pipeline), expected)
    assert bad_of(pipeline) == [5, 6, 7, 13]


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_processes_make_the_same_of_records_that_cannot_be_decoded(damaged, on_error):
    source = source_of(damaged, on_error=on_error)
    pipeline = made(source, workers={"kind": "process", "count": 2})
    same(served(pipeline), served(made(source)))
    assert bad_of(pipeline) == [5, 6, 7, 13]


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_what_was_met_before_changes_nothing(damaged, on_error):
    """After resuming, and in any order: another reader has met other records."""
    source = source_of(damaged, on_error=on_error)
    whole = served(made(source))
    for taken in (1, 3, 5):
        first, second = made(source), made(source, workers=2)
        with first.steps() as steps:
            for _ in range(taken):
                next(steps)
            state = json.loads(json.dumps(first.get_state()))
        second.set_state(state)
        same(served(second), whole[taken:])


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
@pytest.mark.parametrize("budget", [0, 2])
def test_more_of_them_than_the_budget_end_the_iteration(damaged, on_error, budget):
    pipeline = made(source_of(damaged, on_error=on_error, error_budget=budget))
    with pytest.raises(DataError, match=f"error_budget allows {budget}:") as caught:
        served(pipeline)
    if budget:  # of three, two at least are those of the stage
        assert "cannot be decoded" in str(caught.value)


def test_an_error_of_a_stage_says_how_to_go_on_without_the_record(damaged):
    (Path(damaged) / "06.jpg").unlink()
    source = feedrace.create("source", "image-folder", path=damaged, columns=["image"])
    for run in (
        lambda: served(made(source, FUSED)),
        lambda: list(all_records(source, FUSED, seed=0).sample(np.arange(5, 6))),
    ):
        with pytest.raises(DataError, match="cannot be decoded") as caught:
            run()
        assert any("on_error = 'substitute' or 'skip'" in note for note in caught.value.__notes__)


def _mistaken(record):
    return record["no"]


def _of_another_shape(record):
    return {**record, "image": np.zeros((2, 3), np.uint8)}


@pytest.mark.parametrize(
    ("stage", "error", "message"),
    [(_mistaken, KeyError, "no"), (_of_another_shape, DataError, "correct one of the two")],
)
def test_a_mistake_in_a_stage_is_no_fault_of_a_record(damaged, stage, error, message):
    source = source_of(damaged, on_error="skip", error_budget=COUNT)
    with pytest.raises(error, match=message):
        served(made(source, [*FUSED, record(stage)]))


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_jobs_leave_out_or_replace_what_cannot_be_decoded(damaged, repaired, on_error, tmp_path):
    source = source_of(damaged, on_error=on_error)
    every = all_records(source, FUSED, seed=0)
    sums = list(every.run(_sums, [0, 6, COUNT], tmp_path / "job", what="test", workers=0))
    good = all_records(source_of(repaired), FUSED, seed=0)
    expected = {
        str(i): int(values["image"].sum())
        for i, values in enumerate(good.sample(np.arange(COUNT)))
        if on_error == "substitute" or i not in (*CUT, EMPTY)
    }
    assert {**sums[0].value, **sums[1].value} == expected
    assert [made.left_out for made in sums] == ([1, 3] if on_error == "skip" else [0, 0])
    assert [bad.number for bad in every.source.bad_records] == [5, 6, 7, 13]


def _sums(number, records):
    return {str(i): int(values["image"].sum()) for i, values in records}


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_composed_sources_pass_it_on(damaged, repaired, on_error):
    def both(path, **fields):
        inner = {"use": "subset", "source": source_of(path, **fields), "start": 3}
        return {"use": "concat", "sources": {"a": source_of(repaired), "b": inner}}

    ours = served(made(both(damaged, on_error=on_error), workers=2))
    expected = served(made(both(repaired)))
    if on_error == "skip":
        for numbers, batch in expected:
            lost = np.isin(np.array(numbers) - COUNT + 3, [*CUT, EMPTY])
            lost &= np.array(numbers) >= COUNT
            batch["valid_mask"][: len(lost)] &= ~lost
            batch["image"][: len(lost)][lost] = 0
    same(ours, expected)


@pytest.mark.parametrize("on_error", ["skip", "substitute"])
def test_a_cache_keeps_no_record_that_could_not_be_decoded(damaged, tmp_path, on_error):
    """So that it is noted each time."""
    inner = source_of(damaged, on_error=on_error)
    fields = {"stages": WHOLE, "directory": str(tmp_path / "kept")}
    rounds = []
    for _ in range(2):
        pipeline = made(
            {"use": "cache", "source": inner, **fields}, [], sampler={"use": "sequential"}
        )
        rounds.append(served(pipeline))
        (part,) = source_in(pipeline).sources.values()
        assert [bad.number for bad in part.bad_records] == [5, 6, 7, 13]
    same(*rounds)
    numbers, masks = np.arange(COUNT), [batch["valid_mask"] for _, batch in rounds[0]]
    lost = np.isin(numbers, [*CUT, EMPTY]) & (on_error == "skip")
    assert np.concatenate(masks)[:COUNT].tolist() == (~lost).tolist()


def _tokens(record):
    if record["text"].startswith("!"):
        raise DataError("it is marked as bad")
    return {"tokens": np.arange(len(record["text"]), dtype=np.int32)}


TOKENS = record(_tokens, spec={"tokens": jax.ShapeDtypeStruct((None,), np.int32), "text": None})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("on_error", "lengths"), [("skip", [1, 3, 4]), ("substitute", [1, 3, 3, 4])]
)
def test_windows_are_packed_without_it(tmp_path, workers, on_error, lengths):
    (tmp_path / "texts.txt").write_text("a\n!b\nccc\ndddd\n")
    source = {"use": "text-lines", "path": str(tmp_path / "texts.txt"), "columns": ["text"]}
    pipeline = made(
        {**source, "on_error": on_error, "error_budget": 1},
        [TOKENS],
        sampler={"use": "sequential"},
        batcher={"use": "pack", "fields": {"tokens": 8}},
        workers=workers,
    )
    found = []
    for batch in pipeline:
        for row in np.asarray(batch["tokens_segmentation"]):
            found += np.bincount(row)[1:].tolist()
    assert sorted(found) == lengths
    assert bad_of(pipeline) == [1]


def test_a_window_with_one_is_left_out_whole(damaged, repaired):
    sampler = {"use": "sliding-window", "window_size": 2, "stride": 2}
    ours = served(made(source_of(damaged, on_error="skip"), sampler=sampler))
    windows = served(made(source_of(repaired), sampler=sampler))
    for (numbers, one), (_, other) in zip(ours, windows, strict=True):
        good = ~np.isin(numbers, [*CUT, EMPTY]).any(axis=1)
        rows = len(numbers)
        assert one["valid_mask"][:rows].tolist() == good.tolist()
        assert np.array_equal(one["image"][:rows][good], other["image"][:rows][good])


@pytest.mark.parametrize(
    ("on_error", "lengths"), [("skip", [1, 3, 4]), ("substitute", [1, 3, 3, 4])]
)
def test_tokens_of_such_documents_are_left_out_or_replaced(tmp_path, on_error, lengths):
    (tmp_path / "texts.txt").write_text("a\n!b\nccc\ndddd\n")
    inner = {"use": "text-lines", "path": str(tmp_path / "texts.txt"), "columns": ["text"],
             "on_error": on_error, "error_budget": 1}  # fmt: skip
    source = {"use": "concat-then-split", "source": inner, "stages": [TOKENS],
              "fields": ["tokens"], "length": 4, "drop_remainder": False}  # fmt: skip
    pipeline = made(source, [], sampler={"use": "sequential"}, workers=2)
    found = [batch["tokens"][batch["tokens_mask"]] for _, batch in served(pipeline)]
    expected = [i for length in lengths for i in range(length)]
    assert np.concatenate(found).tolist() == expected
