import json
import os

import pytest

from penstock import StateError
from penstock.state import counters_of, diff, document, fingerprint, load, save

PRINT = fingerprint({"source": {"use": "memory", "version": "1"}, "train": [4, 10]})


def test_a_document_gives_its_counters_back():
    made = json.loads(json.dumps(document({"pass": 1, "update": 7}, PRINT)))
    assert counters_of(made, PRINT) == {"pass": 1, "update": 7}


def test_another_fingerprint_is_refused_with_what_differs():
    other = fingerprint({"source": {"use": "memory", "version": "2"}, "train": [4, 10]})
    made = document({"pass": 0}, other)
    with pytest.raises(StateError, match=r'source\.version: "2" -> "1"'):
        counters_of(made, PRINT)
    assert counters_of(made, PRINT, ignore_fingerprint=True) == {"pass": 0}


def test_long_parts_become_digests_that_still_differ():
    one, two = (
        fingerprint({"long": {"text": "x" * 2000 + end}, "short": {"kept": 1}}) for end in "ab"
    )
    assert [line.split(":")[0] for line in diff(one, two)] == ["long"]
    assert one["short"] == {"kept": 1}
    assert len(json.dumps(one)) < 100
    many = fingerprint({f"stages[{i}]": {"k": "y" * 100} for i in range(100)})
    assert len(json.dumps(document({"pass": 10**15}, many))) < 2048


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"format": 1, "counters": {"pass": 0}},
        {"format": 2, "counters": {"pass": 0}, "fingerprint": PRINT},
        {"format": 1, "counters": {}, "fingerprint": PRINT},
        {"format": 1, "counters": {"pass": -1}, "fingerprint": PRINT},
        {"format": 1, "counters": {"pass": "0"}, "fingerprint": PRINT},
        {"format": 1, "counters": {"pass": True}, "fingerprint": PRINT},
        {"format": 1, "counters": {"pass": 0}, "fingerprint": {1: 2}},
    ],
)
def test_a_document_that_is_cut_or_wrong_is_refused(wrong):
    with pytest.raises(StateError, match="state"):
        counters_of(wrong, PRINT)


@pytest.mark.parametrize("wrong", [None, "x", [1]])
def test_a_state_that_is_no_dict_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="is a dict"):
        counters_of(wrong, PRINT)


def test_diff_names_each_place():
    assert diff({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "d": 4}) == [
        "a.b: 1 -> 3",
        "c: 2 -> absent",
        "d: absent -> 4",
    ]


def test_a_file_cut_at_any_byte_is_refused(tmp_path):
    path = tmp_path / "state.json"
    made = document({"pass": 0, "update": 3}, PRINT)
    save(path, made)
    assert load(path) == made
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateError, match="not a whole state document"):
            load(path)
    path.write_text("[]")
    with pytest.raises(StateError, match="holds list"):
        load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    save(path, {"old": 1})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save(path, {"new": 2})
    assert load(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
