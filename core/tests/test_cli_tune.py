"""`feedrace tune`: what it tries, what it concludes from rates, what it prints."""

import importlib
import json
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import feedrace
from feedrace.cli import main, tune
from feedrace.cli.tune import Running, Trial, applied, endless, lines, measured, search
from feedrace.host.records import pad_batch

PROCESS = {"kind": "process", "count": 2}
CHANGES = {"workers": PROCESS, "prefetch": 4, "block_size": 4096}
CONFIG = """
batch_size = 2
[source]
use = "{source}"
[sampler]
use = "sequential"
"""


class NoReader:
    def element_spec(self):
        return {"x": SimpleNamespace(shape=(), dtype=np.dtype(np.int32))}

    def __len__(self):
        return 20

    def fetch(self, indices):
        return {"x": np.asarray(indices, np.int32)}


class Reading(NoReader):
    def reader(self):
        return self


def passing_on(record):
    return record


@pytest.fixture
def config(tmp_path, request):
    path = tmp_path / "c.toml"
    with feedrace.temporary():
        feedrace.register("source", "no-reader", NoReader)
        feedrace.register("source", "reading", Reading)
        path.write_text(CONFIG.format(source=getattr(request, "param", "no-reader")))
        yield path


@pytest.fixture
def set_cpus(monkeypatch):
    """A function that sets the number of CPUs that `tune` finds."""
    importlib.import_module("feedrace.pipeline.streams")  # or it would keep the patched function
    return lambda n: monkeypatch.setattr("feedrace.host.machine.usable_cpus", lambda: n)


def call(*arguments):
    return CliRunner().invoke(main, ["tune", *map(str, arguments)])


def test_each_key_is_tried_with_the_best_of_those_before():
    gains = {"workers": {0: 0.5, 1: 1.5, 2: 1.2}, "prefetch": {1: 0.9, 4: 1.1, 8: 1.1}}
    tried = []

    def measure(changes):
        tried.append(changes)
        gain = float(np.prod([gains[key][value] for key, value in changes.items()]))
        return Trial(changes, gain=gain, faster=1.0)

    best = search({key: list(some) for key, some in gains.items()}, measure)
    assert best.changes == {"workers": 1, "prefetch": 4}  # 8 is no faster
    assert tried == [
        {"workers": 0},
        {"workers": 1},
        {"workers": 2},
        {"workers": 1, "prefetch": 1},
        {"workers": 1, "prefetch": 4},
        {"workers": 1, "prefetch": 8},
    ]


def test_a_gain_within_the_noise_is_none():
    for gain, faster in ((1.02, 1.0), (1.5, 0.6)):  # too small, or not often enough
        trial = Trial({"prefetch": 4}, gain=gain, faster=faster)
        assert search({"prefetch": [4]}, lambda changes, trial=trial: trial).changes == {}


def test_changes_leave_the_config_alone():
    mapping = {"batch_size": 2, "sampler": {"use": "block-shuffle", "seed": 1}}
    changed = applied(mapping, CHANGES)
    assert changed == {
        "batch_size": 2,
        "workers": PROCESS,
        "prefetch": 4,
        "sampler": {"use": "block-shuffle", "seed": 1, "block_size": 4096},
    }
    assert mapping == {"batch_size": 2, "sampler": {"use": "block-shuffle", "seed": 1}}


def test_the_pass_is_endless_if_the_sampler_can(config):
    mapping = {"batch_size": 2, "source": {"use": "no-reader"}}
    assert endless(mapping) == mapping
    sampled = {**mapping, "sampler": {"use": "sequential", "num_epochs": 3}}
    assert endless(sampled)["sampler"] == {"use": "sequential", "num_epochs": -1}
    scheduled = {**sampled, "scheduler": {"use": "single"}}
    assert endless(scheduled) == scheduled


@pytest.mark.parametrize(
    ("suffix", "parse"),
    [
        (".toml", tomllib.loads),
        (".yaml", yaml.safe_load),
        (".json", lambda text: json.loads(f"{{{text[:-1]}}}")),
    ],
)
def test_the_lines_say_the_changes_in_the_format_of_the_config(suffix, parse):
    *most, remark, _, block = [*lines(CHANGES, suffix)[:-4], *lines(CHANGES, suffix)[-3:]]
    assert parse("\n".join(most)) == {"workers": PROCESS, "prefetch": 4}
    assert "another order" in remark
    assert parse(block) == {"block_size": 4096}


@pytest.mark.parametrize(("cpus", "counts"), [(1, [1, 2]), (2, [1, 2]), (16, [1, 2, 8, 16])])
def test_threads_processes_and_none_are_tried_up_to_the_cpus(set_cpus, config, cpus, counts):
    set_cpus(cpus)
    mapping = {"batch_size": 2, "source": {"use": "reading"}, "workers": 2, "prefetch": 4}
    values, impossible = tune.values_to_try(Running(mapping))
    processes = [{"kind": "process", "count": n} for n in counts]
    assert values == {
        "workers": [0, *(n for n in counts if n != 2), *processes],  # it has 2 threads
        "prefetch": [1, 2, 8],
    }
    assert impossible == []


def test_blocks_are_not_larger_than_the_data(config):
    base = Running({"batch_size": 2, "source": {"use": "reading"}})
    for size, tried in ((1, [4, 16]), (5, [1, 20]), (20, [5])):
        base.current["block_size"] = size
        assert tune.values_to_try(base)[0]["block_size"] == tried


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"use": "memory", "data": {"x": [1, 2]}}, "the records are on the device already"),
        ({"use": "no-reader"}, "no reader(), so one thread reads, and no stage works on records"),
    ],
)
def test_workers_that_would_have_nothing_to_do_are_not_tried(config, source, reason):
    values, impossible = tune.values_to_try(Running({"batch_size": 2, "source": source}))
    assert "workers" not in values
    assert len(impossible) >= 4
    assert all(reason in trial.reason for trial in impossible)


@pytest.mark.parametrize(("prefetch", "tried"), [(0, [1]), (2, [])])
def test_prefetch_of_records_on_the_device_is_on_or_off(prefetch, tried):
    source = {"use": "memory", "data": {"x": [1, 2]}}
    base = Running({"batch_size": 2, "source": source, "prefetch": prefetch})
    assert tune.values_to_try(base)[0] == {"prefetch": tried}


def test_stages_on_records_are_work_for_workers_without_a_reader(config):
    stages = [feedrace.record(passing_on)]
    mapping = {"batch_size": 2, "source": {"use": "no-reader"}, "stages": stages}
    assert tune.values_to_try(Running(mapping))[1] == []
    trial = measured(Running(mapping), mapping, {"workers": PROCESS}, 0)
    assert "has no reader() that processes could hold" in trial.reason


class Scripted:
    """Rates that are known beforehand, in place of a pipeline's; and what was asked."""

    asked: list = []

    def __init__(self, rates):
        self.rates, self.closed = iter(rates), False

    def rate(self, seconds):
        self.asked.append(self)
        rate = next(self.rates)
        if isinstance(rate, Exception):
            raise rate
        return rate

    def close(self):
        self.closed = True


def test_a_trial_takes_turns_with_the_config_and_counts_the_median(monkeypatch):
    """The machine was busy in two turns, of all that ran then."""
    base = Scripted([100, 10, 100, 100, 20])
    trial = Scripted([0, 200, 9, 200, 2000, 40])
    monkeypatch.setattr(tune, "Running", lambda mapping: trial)
    monkeypatch.setattr(Scripted, "asked", asked := [])
    made = measured(base, {}, {"prefetch": 4}, 600)
    assert made == Trial({"prefetch": 4}, 200, 2.0, faster=0.8)
    assert asked == [trial, *[base, trial] * 5]
    assert trial.closed


def test_without_time_a_trial_has_one_turn(monkeypatch):
    monkeypatch.setattr(tune, "Running", lambda mapping: Scripted([0, 300]))
    assert measured(Scripted([100]), {}, {"prefetch": 4}, -1).gain == 3.0


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_trial_that_fails_is_listed_with_its_reason(monkeypatch, at):
    trial = Scripted([*[1.0] * at, MemoryError("no room")])
    monkeypatch.setattr(tune, "Running", lambda mapping: trial)
    made = measured(Scripted([1.0] * 9), {}, {"prefetch": 4}, 600)
    assert made == Trial({"prefetch": 4}, reason="MemoryError: no room")
    assert trial.closed


def test_an_error_of_the_config_as_it_is_ends_the_command(monkeypatch):
    monkeypatch.setattr(tune, "Running", lambda mapping: Scripted([1.0] * 9))
    with pytest.raises(OSError, match="the disk"):
        measured(Scripted([1.0, OSError("the disk")]), {}, {"prefetch": 4}, 600)


def test_rates_go_on_into_the_next_pass():
    source = {"use": "memory", "data": {"x": [1, 2, 3]}}
    running = Running({"batch_size": 2, "source": source})
    assert running.rate(0.01) > 0
    assert sum(running._next() for _ in range(6)) == 9
    running.close()


class Windows:
    """Batches of records as they come, in windows of so many batches."""

    def __init__(self, batches):
        self.batches = batches

    def window_size(self, batch_size):
        return self.batches * batch_size

    def collate_window(self, records, *, batch_size):
        for i in range(0, len(records["x"]), batch_size):
            x = records["x"][i : i + batch_size]
            yield pad_batch({"x": x}, batch_size=batch_size), np.arange(i, i + len(x))

    def process(self, elements, *, batch_size, drop_remainder=False):
        raise NotImplementedError

    def batch_spec(self, element_spec, *, batch_size):
        raise NotImplementedError


@pytest.mark.parametrize(("batcher", "unit"), [(None, 2), (Windows(5), 10), (Windows(500), 20)])
def test_what_may_be_ready_from_before_a_turn_is_taken_first(config, batcher, unit):
    mapping = {"batch_size": 2, "source": {"use": "reading"}, "workers": 1, "prefetch": 3}
    running = Running(
        {**mapping, "batcher": batcher, "sampler": {"use": "sequential", "num_epochs": -1}}
    )
    running.rate(0)
    running.close()
    ready = 3 * 2 + (2 + 3) * unit  # in the queue, and with the worker
    assert running.pipeline.stats()["records"] == ready + 6 * unit


def of_gains(*gains):
    """Return a function in place of `measured` that gives these gains, then 1."""
    left = iter(gains)
    return lambda base, mapping, changes, seconds, turns: Trial(
        changes, 500.0, next(left, 1.0), 1.0
    )


@pytest.mark.parametrize("config", ["reading"], indirect=True)
def test_the_best_is_tried_again_and_shown_as_lines_for_the_config(config, set_cpus, monkeypatch):
    before = config.read_bytes()
    set_cpus(2)
    # none, a thread, one process, two processes; prefetch 1, 4, 8; the best again
    gains = (0.9, 0.7, 1.1, 1.9, 1.0, 1.0, 1.0, 1.834)
    monkeypatch.setattr(tune, "measured", of_gains(*gains))
    done = call(config, "--seconds", "1")
    assert done.exit_code == 0, done.output
    head, found = done.output.split("\n\n", 1)
    assert [row.split()[1:5] for row in head.splitlines()[4:6]] == [
        ["1.10x", "1", "process", "2"],
        ["1.90x", "2", "processes", "2"],
    ]
    assert head.splitlines()[1].endswith("the config as it is")
    assert found == (
        "1.83x the records/s of the config as it is, with:\n\n"
        'workers = {kind = "process", count = 2}\n'
    )
    assert config.read_bytes() == before
    monkeypatch.setattr(tune, "measured", of_gains(*gains))
    document = json.loads(call(config, "--seconds", "1", "--json").stdout)
    assert (document["best"], document["gain"]) == ({"workers": PROCESS}, 1.834)
    assert document["current"] == {"workers": 2, "prefetch": 2}
    assert [trial["gain"] for trial in document["tried"]] == [1.0, *gains]


@pytest.mark.parametrize("config", ["reading"], indirect=True)
def test_a_gain_that_does_not_come_again_is_none(config, monkeypatch):
    monkeypatch.setattr(tune, "measured", of_gains(1.9))
    assert "The config is the best already" in call(config, "--seconds", "1").output
    monkeypatch.setattr(tune, "measured", of_gains(1.9))
    document = json.loads(call(config, "--seconds", "1", "--json").stdout)
    assert (document["best"], document["gain"]) == ({}, 1.0)


@pytest.mark.parametrize("config", ["reading"], indirect=True)
def test_a_config_that_was_compared_with_nothing_is_not_called_the_best(config, monkeypatch):
    refuse = lambda base, mapping, changes, seconds, turns: Trial(changes, reason="no")  # noqa: E731
    monkeypatch.setattr(tune, "measured", refuse)
    assert call(config, "--seconds", "1").output.endswith("\nNothing else could be timed.\n")


def test_without_time_left_the_rest_is_listed_as_untried(config):
    base = Running({"batch_size": 2, "source": {"use": "reading"}, "prefetch": 2})
    noted = []
    best = tune.explore(base, {}, 0.0, lambda trial: noted.append(trial) or trial)
    assert best.changes == {}
    assert {trial.reason for trial in noted} == {"no time was left; give more --seconds"}


def test_a_config_is_timed_in_earnest(config):
    before = config.read_bytes()
    document = json.loads(call(config, "--seconds", "1", "--json").stdout)
    assert config.read_bytes() == before
    timed = [trial for trial in document["tried"] if not trial["reason"]]
    assert [trial["changes"] for trial in timed][:4] == [{}, *({"prefetch": n} for n in (1, 4, 8))]
    assert all(trial["records_per_s"] > 0 and trial["gain"] > 0 for trial in timed)


def test_a_wrong_config_is_reported_with_its_line(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('batch_size = 2\nprefetch = "x"\n[source]\nuse = "memory"\ndata = {x = [1]}\n')
    done = call(path)
    assert done.exit_code == 1
    assert "c.toml: prefetch: " in done.output
    assert "(line 2)" in done.output
