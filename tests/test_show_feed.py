"""The demonstration `feed-the-accelerator` measures what it says it measures."""

import itertools
import os
import select
import sys
from pathlib import Path

import numpy as np
import pytest

SHOW = Path(__file__).parents[1] / "docs/examples/show"


@pytest.fixture
def shown(monkeypatch):
    """Return how to import a module of the demonstration, alone."""
    before = set(sys.modules)
    for folder in (SHOW, SHOW / "feeders"):
        monkeypatch.syspath_prepend(str(folder))

    def module(name):
        return __import__(name)

    yield module
    for name in set(sys.modules) - before:
        if str(SHOW) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def served(epochs, size=64):
    """Yield batches of `size` numbers of some epochs."""
    for epoch in epochs:
        yield from np.array(epoch).reshape(-1, size)


def test_an_emulated_step_is_used_for_its_share_of_the_time(shown):
    emulated = shown("emulated")
    epochs = [range(128)] * 2
    seen = emulated.run(served(epochs), 128, 10_000.0, 2)
    assert 0 < seen["utilization"] <= 1
    assert seen["rate"] == pytest.approx(10_000 * seen["utilization"])
    assert emulated.run(served(epochs), 128, None, 2)["utilization"] == 0


def test_the_worst_epoch_says_how_many_photographs_came(shown):
    emulated = shown("emulated")
    epochs = [range(128), [5, *range(1, 128)], [3, 3, *range(2, 128)]]
    batches = served(epochs)
    assert emulated.run(batches, 128, None, 1)["unique"] == 128
    assert emulated.run(batches, 128, None, 2)["unique"] == 126


def test_what_was_made_between_runs_is_not_measured(shown, monkeypatch):
    emulated = shown("emulated")
    now = itertools.count(step=0.125)
    monkeypatch.setattr(emulated.time, "perf_counter", lambda: next(now))
    batches = served([range(64)] * 9)
    emulated.drain(batches, 64)  # the clock is read three times an epoch
    assert len(list(batches)) == 7


def test_the_rate_at_which_a_step_is_used_enough_is_found_between_those_measured(shown):
    feed = shown("feed_the_accelerator")
    curve = [(rate, min(1.0, 1000 / rate)) for rate in (800, 1050, 1250, 1500)]
    assert feed.rate_at(curve) == pytest.approx(1000 / 0.9)
    assert feed.rate_at(curve[2:]) == pytest.approx(1000 / 0.9)  # all above it
    assert feed.rate_at([(800, 0.99)]) == pytest.approx(880)  # all below: no more than was seen


def loader(capacity, unique=1536):
    """Return a made-up loader that makes `capacity` photographs/s."""

    def ask(rate, epochs):
        used = 0.0 if rate is None else min(1.0, capacity / rate)
        passed = capacity if rate is None else min(capacity, rate)
        return {"utilization": used, "rate": passed, "own": 1e-5, "unique": unique}

    return ask


def test_each_loader_has_the_rate_that_it_feeds_and_its_worst_epoch(shown):
    feed = shown("feed_the_accelerator")
    odd = iter([1535])

    def sometimes(rate, epochs):
        return {**loader(900.0)(rate, epochs), "unique": next(odd, 1536) if rate else 1536}

    asks = {"Feedrace, threads": loader(3000.0), "other": sometimes}
    ours, other = feed.measured(asks, 1536, feed.SHARES, 3, 1.0)
    assert (ours["fed"], ours["check"], ours["rate"]) == pytest.approx((3000 / 0.9, 0.9, 3000))
    assert (other["fed"], other["unique"]) == (pytest.approx(1000), 1535)
    assert ours["unique"] == 1536


def row(name, fed):
    return {"loader": name, "fed": fed, "check": 0.9, "rate": fed, "own": 1e-5, "unique": 64}


def test_what_feeds_more_than_feedrace_comes_first(shown):
    feed = shown("feed_the_accelerator")
    rows = [row("Feedrace, threads", 900.0), row("Feedrace, processes", 1000.0)]
    rows += [row("slow, threads", 500.0), row("fast, threads", 1500.0)]
    lines = list(feed.table(rows, 64))
    assert lines[0] == "Feeds more than Feedrace here: fast, threads 1.50x."
    names = [line.split("|")[1].strip() for line in lines[4:]]
    assert names == ["fast, threads", "Feedrace, processes", "Feedrace, threads", "slow, threads"]
    assert next(feed.table(rows[:3], 64)) == "No loader fed more than Feedrace here."


def test_a_page_says_what_a_real_step_saw_or_why_it_was_not_measured(shown):
    feed = shown("feed_the_accelerator")
    why = "The real step was not measured: JAX has no GPU here."
    assert feed.real_text("JAX has no GPU here") == why
    seen = {"device": "X1", "batch": 400, "fed": 900.0, "alone": 1000.0}
    assert "one X1" in feed.real_text(seen) and "90.0%" in feed.real_text(seen)


def test_a_real_step_that_fails_or_has_no_gpu_is_named(shown, monkeypatch, capsys):
    feed = shown("feed_the_accelerator")
    monkeypatch.setattr(feed.report, "ran", lambda *arguments, **variables: "null")
    assert feed.real_step("photographs", 2, 5) == "JAX has no GPU here"

    def fails(*arguments, **variables):
        raise RuntimeError("it ended with out of memory")

    monkeypatch.setattr(feed.report, "ran", fails)
    assert feed.real_step("photographs", 2, 5) == "its program failed"
    assert "left out: it ended with out of memory" in capsys.readouterr().out


def test_versions_that_rows_share_are_listed_once(shown):
    rows = [{"versions": {"a": "1", "b": "2"}}] * 2 + [{"versions": {"c": "3"}}]
    assert shown("report").versions_of(rows) == "a 1 b 2; c 3"


def test_one_process_bounds_what_workers_bring(shown):
    feed = shown("feed_the_accelerator")
    text = feed.bounds([row("a, processes", 1.0), row("b, threads", 1.0)], feed.H100, 4)
    assert "1.00 accelerators, and at most 4.00 with 4 cores" in text
    assert "a 10 us (56 accelerators)" in text and "b " not in text.split("time:")[1]


ANSWERS = """
import json, subprocess, sys
held = "import sys, time; held = open(sys.argv[1], 'w'); time.sleep(3600)"
subprocess.Popen([sys.executable, "-c", held, sys.argv[1]])
print("{}", flush=True)
for line in sys.stdin:
    print(json.dumps({"twice": 2 * json.loads(line)["number"]}), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_program_of_a_loader_is_asked_and_ends_with_its_workers(shown, tmp_path):
    program, pipe = tmp_path / "program.py", tmp_path / "pipe"
    program.write_text(ANSWERS)
    os.mkfifo(pipe)
    started = shown("feed_the_accelerator").Feeder(tmp_path / "log", sys.executable, program, pipe)
    with open(pipe) as held:  # a worker of the program has it open while it lives
        assert [started.ask(number=n)["twice"] for n in (2, 3)] == [4, 6]
        started.close()
        assert select.select([held], [], [], 60)[0] and held.read() == ""


def test_a_program_of_a_loader_that_fails_shows_why(shown, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("raise OSError('no such photographs')")
    with pytest.raises(RuntimeError, match="no such photographs"):
        shown("feed_the_accelerator").Feeder(tmp_path / "log", sys.executable, program)


@pytest.mark.slow
def test_feedrace_serves_every_photograph_once_in_an_epoch(shown, tmp_path):
    for name in ("feedrace_files", "feedrace_images", "feedrace_samplers", "sklearn"):
        pytest.importorskip(name)
    folder = tmp_path / "photographs"
    folder.mkdir()
    shown("feed_the_accelerator").write_photographs(folder, 64)
    assert len(shown("emulated").paths_of(folder)) == 64
    batches = shown("feedrace_feeder").batches(folder, 1, "thread")
    first, second = itertools.islice(batches, 2)
    batches.close()
    assert sorted(first) == sorted(second) == list(range(64))
    assert list(first) != list(second)


@pytest.mark.slow
def test_scan_and_the_loop_learn_the_same(shown):
    for name in ("optax", "sklearn", "feedrace_samplers"):
        pytest.importorskip(name)
    digits = shown("digits")
    loop, scan = digits.Training(1), digits.Training(1)
    assert float(loop.loop()) == pytest.approx(float(scan.scan()), rel=1e-4)
    assert float(loop.loop()) < 1.5  # of 2.3 before the first step


@pytest.mark.slow
def test_the_real_step_is_resnet_50_and_trains(shown):
    pytest.importorskip("optax")
    import jax
    from flax import nnx

    resnet = shown("resnet")
    weights = nnx.state(nnx.eval_shape(lambda: resnet.ResNet(nnx.Rngs(0))), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == 25_557_032
    batch = {"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.arange(2)}
    small = resnet.ResNet(nnx.Rngs(0), (1,), 8)
    seen = resnet.fed(small, itertools.repeat(batch), 2, skip=1)
    assert seen["alone"] > 0 and seen["fed"] > 0
