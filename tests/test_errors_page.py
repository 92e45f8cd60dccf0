"""docs/howto/errors.md quotes the errors as they are raised: each is raised here."""

import os
import re
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import feedrace
from feedrace.errors import StallWarning

ROOT = Path(__file__).parents[1]
DATA = {"x": np.arange(100)}
LENGTHS = [{"t": np.arange(n)} for n in range(1, 30)]
FLOATS = [{"x": np.float32(n)} for n in range(8)]


def pipeline(source=None, batch_size=4, **options):
    return feedrace.Pipeline(
        source=DATA if source is None else source, batch_size=batch_size, **options
    )


def run(*arguments, **options):
    return list(pipeline(*arguments, **options))


def build(source, **options):
    return feedrace.build({"batch_size": 4, "source": source, **options})


@contextmanager
def switched(patch, **variables):
    """Have other environment variables, and the registry look anew."""
    try:
        with patch.context() as inner:
            for name, value in variables.items():
                inner.setenv(name, value)
            feedrace.refresh()
            yield inner
    finally:
        feedrace.refresh()


def not_installed(patch):
    with switched(patch) as inner:
        inner.setattr("importlib.metadata.distributions", list)
        feedrace.refresh()
        build({"use": "parquet", "path": "x"})


def switched_off(patch):
    with switched(patch, FEEDRACE_PLUGINS_DISABLE="batchers"):
        feedrace.create("batcher", "pack", fields={"t": 2})


def wrong_file(patch):
    text = 'batch_size = 4\n[source]\nuse = "memory"\ndata = { x = [1] }\n'
    Path("run.toml").write_text(text + '[sampler]\nuse = "epoch-aware"\nnum_epoch = 2\n')
    feedrace.load("run.toml")


class Failing:
    def __len__(self):
        return 8

    def __getitem__(self, number):
        return {} if number == 3 and {}["no"] else {"x": 1.0}


def changed_file(patch):
    Path("points.txt").write_text("a\nb\nc\n")
    lines = build({"use": "text-lines", "path": "points.txt"}, workers=0, prefetch=0)
    Path("points.txt").write_text("a, b and c\n")
    next(iter(lines))


def flipped(batch):
    return {**batch, "x": -batch["x"]}


def renamed(record):
    return {"y": record["x"].astype(np.float64)}


def forked(patch):
    made = pipeline()
    pid = os.getpid()
    with patch.context() as inner:
        inner.setattr(os, "getpid", lambda: pid + 1)
        next(iter(made))


def blocked(patch):
    free = threading.Event()

    @feedrace.record
    def waiting(record):
        free.wait(60)
        return record

    made = iter(pipeline(FLOATS, stages=[waiting], stall_seconds=0.05, workers=0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", StallWarning)
            threading.Timer(1, free.set).start()
            next(made)
    finally:
        free.set()


def other_order(patch):
    made = pipeline()
    made.set_state({**made.get_state(), "order": 1})


def overtaken(patch):
    made = pipeline()
    first = iter(made)
    next(first)
    next(iter(made))
    next(first)


SPLIT = {"use": "split", "part": "a", "shares": {"a": 0.5, "b": 0.5}}
PACK = {"use": "pack", "fields": {"t": 8}}
RAISED = {
    "epoch-awar": lambda _: pipeline(sampler={"use": "epoch-awar"}),
    "not installed": not_installed,
    "switched off": switched_off,
    "unknown key": wrong_file,
    "variable": lambda _: build({"use": "text-lines", "path": "$DATA/texts"}),
    "no seed": lambda _: pipeline(stages=[{"use": "flip", "field": "x"}]),
    "order of stages": lambda _: pipeline(FLOATS, stages=[flipped, feedrace.record(flipped)]),
    "generator": lambda _: pipeline(x for x in range(3)),
    "one array": lambda _: pipeline(np.zeros(3)),
    "tuples": lambda _: pipeline([(1, 2)] * 4),
    "too wide": lambda _: run({"id": np.array([2**40, 1])}),
    "later record": lambda _: run([{"x": np.zeros(3)}] * 20 + [{"x": np.zeros(4)}]),
    "data set raises": lambda _: run(Failing()),
    "no path": lambda _: build({"use": "text-lines", "path": "no/such"}),
    "changed": changed_file,
    "image": lambda _: run(
        [{"image": b"abc"}] * 4, stages=[{"use": "decode-image"}, {"use": "resize", "size": [4, 4]}]
    ),
    "nothing passes": lambda _: build(
        {"use": "filter", "where": "x > 5", "source": {"use": "memory", "data": {"x": [1, 2]}}}
    ),
    "shuffled part": lambda _: build(
        {**SPLIT, "source": {"use": "memory", "data": {"x": [1, 2, 3]}, "shuffle": True}}
    ),
    "lengths": lambda _: run(LENGTHS),
    "too long": lambda _: run(LENGTHS, batcher=PACK),
    "other fields": lambda _: run(FLOATS, stages=[feedrace.record(renamed)]),
    "no mask": lambda _: run(stages=[lambda batch: {"x": batch["x"]}]),
    "traced": lambda _: run(stages=[lambda batch: batch if batch["x"].sum() > 3 else {}]),
    "nothing left": lambda _: pipeline(batch_size=400, drop_remainder=True),
    "no length": lambda _: len(pipeline(LENGTHS, batcher=PACK)),
    "pickle": lambda _: pipeline(
        FLOATS,
        stages=[feedrace.record(lambda record: record)],
        workers={"kind": "process", "count": 1},
    ),
    "fork": forked,
    "stall": blocked,
    "another pipeline": lambda _: pipeline(batch_size=5).set_state(pipeline().get_state()),
    "order version": other_order,
    "cut state": lambda _: pipeline().set_state({}),
    "out of date": overtaken,
}  # fmt: skip


def quoted():
    page = (ROOT / "docs/howto/errors.md").read_text()
    return [" ".join(text.split()) for text in re.findall(r"```text\n(.*?)```", page, re.DOTALL)]


def matches(quote, message):
    pattern = ".*".join(map(re.escape, quote.split("...")))
    return re.fullmatch(pattern, " ".join(message.split())) is not None


@pytest.mark.parametrize("name", RAISED)
def test_an_error_is_quoted_as_it_is_raised(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(Exception) as caught:
        RAISED[name](monkeypatch)
    found = [quote for quote in quoted() if matches(quote, str(caught.value))]
    assert len(found) == 1, str(caught.value)


def test_every_quote_is_raised():
    assert len(set(quoted())) == len(quoted()) == len(RAISED)
