"""The demonstration that kills a training counts what it says it counts."""

import json
import sys
from pathlib import Path

import pytest

SHOW = Path(__file__).parents[1] / "docs/examples/show"
MODULES = ("kill_shrink_grow", "killing", "texts", "report", "peers", "style")


@pytest.fixture
def show(monkeypatch):
    monkeypatch.syspath_prepend(str(SHOW))
    import kill_shrink_grow

    yield kill_shrink_grow
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def killing(show):
    return show.killing


def batch(*ids, epoch=0, **more):
    return {"epoch": epoch, "ids": list(ids), "rows": [str(i) for i in ids], **more}


def test_texts_are_lost_or_repeated_in_each_epoch(killing):
    batches = [batch(0, 1), batch(1), batch(2, 0, 1, epoch=1)]
    assert killing.times(batches, 3, 2) == (1, 1)
    joined = [batch(0, 1, epoch=None), batch(1, 0, 0, epoch=None)]
    assert killing.times(joined, 3, 2) == (2, 1)


def test_what_a_run_made_after_its_last_state_is_made_again(killing):
    first, second = [batch(0), batch(1), batch(2)], [batch(1), batch(5), batch(3)]
    stream, again, alike = killing.lived([(0, first), (1, second)])
    assert [one["ids"] for one in stream] == [[0], [1], [5], [3]]
    assert (again, alike) == (2, 1)


def test_a_run_that_dies_before_it_comes_as_far_takes_nothing_away(killing):
    first = [batch(i) for i in range(4)]
    stream, again, alike = killing.lived([(0, first), (1, [batch(1)])])
    assert stream == first
    assert (again, alike) == (1, 1)


def test_a_run_cannot_go_on_where_nothing_was_logged(killing):
    with pytest.raises(RuntimeError, match="at batch 3, but 1 were logged"):
        killing.lived([(0, [batch(0)]), (3, [])])


def test_batches_are_compared_in_their_places(killing):
    assert killing.equal([batch(0), batch(1)], [batch(0), batch(2), batch(1)]) == 1


def log(path, *lines, torn=""):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    return path


def test_the_rows_of_all_processes_are_joined_and_torn_lines_left_out(killing, tmp_path):
    two = log(tmp_path / "1", {"begin": 7}, batch(3, first=1, tokens=2, room=4), torn='{"ep')
    one = log(
        tmp_path / "0", {"begin": 7}, batch(1, first=0, tokens=3, room=4), batch(9), {"end": 9}
    )
    begun, batches = killing.read([two, one])
    assert begun == {"begin": 7}
    assert batches == [batch(1, 3, first=0, tokens=5, room=8)]


PROGRAM = """
import json, pathlib, sys, time
given = json.loads(sys.argv[1])
with open(pathlib.Path(given["folder"], given["log"]), "a", buffering=1) as log:
    log.write('{"begin": 5}\\n')
    for _ in range(given["batches"]):
        log.write("{}\\n")
    while given["waits"]:
        time.sleep(1)
    log.write("{\\"end\\": 8}\\n")
    if given["fails"]:
        raise LookupError("no more texts")
"""


def given(tmp_path, **more):
    (tmp_path / "program.py").write_text(PROGRAM)
    return {"folder": str(tmp_path), "batches": 3, "waits": False, "fails": False, **more}


def test_a_program_is_killed_at_a_batch_or_ends_by_itself(killing, tmp_path):
    waiting, program = given(tmp_path, waits=True), tmp_path / "program.py"
    logs, ended = killing.attempt(sys.executable, program, waiting, 2, until=8)
    assert not ended
    assert killing.read(logs[:1]) == ({"begin": 5}, [{}] * 3)
    logs, ended = killing.attempt(sys.executable, program, given(tmp_path), until=20)
    assert ended
    assert logs[0].name == "log-1-0"


def test_the_first_error_of_a_program_is_named(killing, tmp_path):
    failing, program = given(tmp_path, fails=True), tmp_path / "program.py"
    with pytest.raises(RuntimeError, match=r"^LookupError: no more texts$"):
        killing.attempt(sys.executable, program, failing)


def test_a_text_is_cut_between_lines_and_keeps_all_of_them(show):
    lines = [f"line {i} " + "x" * (i % 70) for i in range(300)]
    pieces = list(show.texts.cut("\n".join(lines)))
    assert "\n".join(pieces).split("\n") == lines
    assert all(len(piece.encode()) <= show.texts.LENGTH for piece in pieces)
    assert len(pieces) < 10


def test_kills_fall_inside_evaluations_and_outside(show):
    batches = [batch(i, stream="held-out" if i % 50 > 40 else "train") for i in range(500)]
    places = show.places(batches, 20)
    inside = [at for at in places if batches[at - 1]["stream"] == "held-out"]
    assert len(set(places)) == 20
    assert len(inside) >= 5
    assert all(batches[at]["stream"] == "held-out" for at in inside[:5])
    assert places == sorted(places) == show.places(batches, 20)


def row(loader, **more):
    found = {
        "loader": loader, "lost": 0, "repeated": 0, "same": (8, 8), "other": "yes",
        "bytes": 1000, "seconds": [0.2, 0.2, 0.2], "fill": 0.9,
    }  # fmt: skip
    return {**found, **more}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((0, 0, (8, 8)), "yes"),
        ((0, 0, (7, 8)), "0 lost, 0 repeated, 1 batches differ"),
        ((3, 0, (8, 8)), "3 lost, 0 repeated, 0 batches differ"),
        ((0, 1200, (8, 9)), "0 lost, 1,200 repeated, 1 batches differ"),
    ],
)
def test_another_number_of_workers_is_a_yes_only_if_nothing_changes(show, found, words):
    assert show.outcome(*found) == words


def test_a_run_that_is_too_short_differs_from_one_that_was_not_killed(show):
    whole = [batch(i) for i in range(4)]
    assert show.compared(whole, whole) == (4, 4)
    assert show.compared(whole[:3], whole) == show.compared(whole, whole[:3]) == (3, 4)


def test_feedrace_is_judged_by_what_it_served(show, monkeypatch, tmp_path):
    """One run is whole, then one is killed at its second batch, and its rest has other bytes."""
    whole = [batch(i, stream="train") for i in range(4)]
    other = {**whole[3], "rows": ["other bytes"]}
    begun = {"begin": 0, "place": {}}
    logs = iter([(begun, whole), (begun, whole[:2]), ({**begun, "begin": 2}, [whole[2], other])])
    monkeypatch.setattr(show.killing, "attempt", lambda *given, **more: (None, True))
    monkeypatch.setattr(show.killing, "read", lambda _: next(logs))
    monkeypatch.setattr(show, "first_batches", lambda *given, **more: {})
    monkeypatch.setattr(show, "means", lambda *given: [0.0] * 3)
    monkeypatch.setattr(show, "places", lambda *given: [2])
    given = {"folder": str(tmp_path / "a"), "records": 4, "epochs": 1}
    found = show.trained(sys.executable, "program", given, 1, 0)
    assert (found["lost"], found["repeated"], found["same"]) == (0, 0, (3, 4))
    assert found["other"] == "0 lost, 0 repeated, 1 batches differ"


def test_what_feedrace_loses_comes_first(show):
    rows = [row("Feedrace", lost=2), row("a", seconds=[1, 0.1, 0.16], fill=None)]
    rows += [row("b", bytes=250, seconds=[0.1, 1, 1]), row("c", lost=2)]
    lines = [line for line in show.table(rows) if line]
    assert lines[:3] == [
        "First batch sooner: a (2.00x at 50 %, 1.25x at 95 %), b (2.00x at 5 %).",
        "Smaller state: b 4.00x.",
        "Fewer texts lost or repeated: a, b.",
    ]
    assert lines[3].startswith("| loader")


@pytest.mark.slow
def test_a_training_that_is_killed_gives_the_batches_of_one_that_is_not(show, tmp_path):
    pytest.importorskip("feedrace_arrow")
    pytest.importorskip("feedrace_text")
    train, held_out = show.texts.write(tmp_path, share=60)
    given = {
        "data": str(tmp_path / "train"), "held-out": str(tmp_path / "held-out"),
        "folder": str(tmp_path / "feedrace"), "records": train, "epochs": 2, "workers": 2,
        "every": 3, "pause": 0, "evaluate": 10,
    }  # fmt: skip
    program = show.PROGRAMS / "feedrace_run.py"
    found = show.trained(
        sys.executable, program, given, 1, held_out, FEEDRACE_CACHE_DIR=str(tmp_path / "cache")
    )
    assert (found["lost"], found["repeated"]) == (0, 0)
    assert found["same"][0] == found["same"][1] > 10
    complete, evaluations = found["evaluations"]
    assert complete == evaluations > 0
    assert {processes for processes, _ in found["sizes"]} == {1, 2}
