import json
import os
import subprocess
import sys

import numpy as np
import pytest

from feedrace.errors import StateError
from feedrace.plan import state
from feedrace.plan.state import counters_of, diff, document, fingerprint, load, save

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


def test_a_state_of_another_shuffle_is_refused_with_words_that_say_so():
    made = document({"pass": 3}, PRINT)
    for old in ({**made, "order": 1}, {k: v for k, v in made.items() if k != "order"}):
        with pytest.raises(StateError, match=r"version 1 of the shuffled order, .* by version 2"):
            counters_of(old, PRINT)
        assert counters_of(old, PRINT, ignore_fingerprint=True) == {"pass": 3}
    with pytest.raises(StateError, match=r"version 'x+ .* of the shuffled order") as caught:
        counters_of({**made, "order": "x" * 10**6}, PRINT)
    assert len(str(caught.value)) < 1000


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
        {"format": 99, "counters": {"pass": 0}, "fingerprint": PRINT},
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 10**5000},
        {"format": ["x"] * 10**6},
        {"counters": {"pass": 2**63}},
        {"counters": {"pass": 10**5000}},
        {"counters": {"pass": "x" * 10**6}},
        {"counters": {f"k{i}": -1 for i in range(10**5)}},
        {"fingerprint": {f"k{i}": "y" * 999 for i in range(10**4)}},
        {"fingerprint": {"train": 10**5000}},
        {"fingerprint": {"train": {object()}}},
    ],
)
def test_what_is_too_large_is_refused_in_a_few_words(wrong):
    with pytest.raises(StateError) as caught:
        counters_of({**document({"pass": 0}, PRINT), **wrong}, PRINT)
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("text", ['{"a": %s}' % ("9" * 5000), "[" * 10**5, " " * 2 * 10**6])
def test_a_file_with_what_no_state_holds_is_refused(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateError, match=r"state\.json is not a"):
        load(tmp_path / "state.json")


def test_a_counter_beyond_all_positions_is_refused_by_the_plan():
    from feedrace import Pipeline, create

    def build():
        sampler = create("sampler", "sequential", num_records=10, num_epochs=-1)
        return Pipeline(
            source=create("source", "memory", data={"x": np.arange(10)}),
            sampler=sampler,
            batch_size=4,
        )

    pipeline = build()
    saved = pipeline.get_state()
    with pytest.raises(StateError, match=r"position .* of stream 'train' is beyond"):
        pipeline.set_state({**saved, "counters": {"pass": 0, "update": 2**63 - 1}})
    assert pipeline.get_state() == saved
    far = {**saved, "counters": {"pass": 0, "update": 3 * 2**31}}
    pipeline.set_state(far)
    assert next(pipeline.steps()).start == 10 * 2**31


def test_what_killed_saves_left_an_hour_ago_is_removed(tmp_path):
    program = (
        "import os, sys\n"
        "from feedrace.plan import state\n"
        "os.fsync = lambda _: os._exit(9)\n"
        "state.save(sys.argv[1], {'format': 1})\n"
    )
    file = tmp_path / "state.json"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(file)])
    old, young = sorted(tmp_path.iterdir())
    os.utime(old, (1, 1))
    kept = [tmp_path / name for name in (".state.json.backup", ".state.json.12345678", "other")]
    for path in kept:
        path.write_text("kept")
        os.utime(path, (1, 1))
    save(file, {"format": 1})
    assert sorted(tmp_path.iterdir()) == sorted([file, young, *kept])


def test_a_newer_format_is_refused():
    document = {"format": 2, "counters": {"pass": 0}, "fingerprint": {}}
    with pytest.raises(StateError, match="format 2; this feedrace reads format 1; a newer"):
        state.counters_of(document, {})


def test_a_full_disk_leaves_the_old_state_whole(tmp_path):
    program = (
        "import resource, signal, sys\n"
        "from feedrace.plan import state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "try:\n"
        "    state.save(sys.argv[1], {'counters': list(range(1000))})\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    file = tmp_path / "state.json"
    state.save(file, {"format": 1, "counters": {"pass": 7}})
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True
    )
    assert "large" in done.stdout or "space" in done.stdout
    assert state.load(file)["counters"] == {"pass": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "wrong",
    [{"format": [], "counters": {"pass": 0}, "fingerprint": {}}, {"format": None}],
)
def test_other_formats_are_refused(wrong):
    with pytest.raises(StateError):
        counters_of(wrong, {})


@pytest.mark.parametrize("wrong", [b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_text_is_refused(tmp_path, wrong):
    (tmp_path / "state.json").write_bytes(wrong)
    with pytest.raises(StateError, match=r"state\.json is not"):
        load(tmp_path / "state.json")


def test_whoever_could_read_the_old_file_can_read_the_new(tmp_path):
    save(tmp_path / "state.json", {"format": 1})
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o644
    (tmp_path / "state.json").chmod(0o640)
    save(tmp_path / "state.json", {"format": 1})
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o640


def test_a_part_made_by_name_and_its_equal_made_by_class_have_one_identity():
    from feedrace import registry
    from feedrace.builtin.config import SequentialSamplerConfig
    from feedrace.builtin.sequential import SequentialSamplerModule

    named = registry.create("sampler", "sequential", num_records=np.int32(5))
    live = SequentialSamplerModule(SequentialSamplerConfig(num_records=5))
    identities = [registry.describe("sampler", s, identity_only=True) for s in (named, live)]
    assert identities[0] == identities[1]
    assert json.loads(json.dumps(identities[0])) == identities[0]


def test_values_in_messages_are_clipped():
    from feedrace.errors import ConfigError
    from feedrace.pipeline.options import parse_options

    with pytest.raises(ConfigError) as caught:
        parse_options({"source": "s" * 9999, "batch_size": "x" * 9999, "prefetch": ["y"] * 9999})
    assert len(caught.value.problems) == 3
    assert len(str(caught.value)) < 1500


def test_a_fingerprint_with_nan_equals_itself():
    """As of a config that fills what is missing with NaN."""
    made = fingerprint({"source": {"nulls": {"income": float("nan")}, "scales": [float("nan"), 1]}})
    saved = json.loads(json.dumps(document({"pass": 1}, made), allow_nan=False))
    assert counters_of(saved, made) == {"pass": 1}
