"""Damaged states: each is refused with a `StateError` and changes nothing, or names a place."""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
from pipelines import build, drawn

import feedrace
from feedrace.errors import StateError
from feedrace.plan import state as states

MOST_TEXT = 20_000
ODD = [None, True, -1, 0, 1, 2, 3, 7, 2**31, 2**32, 2**62, 2**63, 10**5000, 1.5, float("nan"), "",
       "x" * 10**5, [], {}, {"pass": 0}, object(), {1}]  # fmt: skip


def broken(rng, value, depth=0):
    """Return a copy of a JSON value with parts of it replaced, left out or put in."""
    if rng.random() < (0.02, 0.1, 0.2)[min(depth, 2)]:
        return rng.choice(ODD)
    if isinstance(value, dict):
        made = {k: broken(rng, v, depth + 1) for k, v in value.items() if rng.random() > 0.03}
        if rng.random() < 0.1:
            made[rng.choice(["inside", "update", "callback", "batch", "taken", "x", 3])] = (
                rng.choice([0, 1, 2, 5, 2**40, "x"])
            )
        return made
    return value


def attack(rng):
    return rng.choice([document, file, module])(rng)


def document(rng):
    """A damaged document of a pipeline."""
    config = drawn(rng)
    pipeline = build(config)
    steps = pipeline.steps()
    for _ in range(rng.randrange(5)):
        next(steps, None)
    saved = pipeline.get_state()
    wrong = broken(rng, copy.deepcopy(saved))
    try:
        pipeline.set_state(wrong, ignore_fingerprint=rng.random() < 0.7)
    except (StateError, TypeError) as error:
        assert isinstance(error, StateError) or not isinstance(wrong, dict), wrong
        assert len(str(error)) < MOST_TEXT
        assert pipeline.get_state() == saved  # nothing is changed
        next(iter(pipeline), None)
        return f"document: {type(error).__name__}"
    try:  # what a state says about a window shows only when its records are read
        next(pipeline.steps(), None)
    except StateError:
        return "document: StateError on use"
    json.dumps(pipeline.get_state())
    return "document: same" if wrong == saved else "document: another place"


def file(rng):
    """A damaged file of a state."""
    saved = states.document({"pass": 3, "update": 17}, {"train": [1, 2], "source": {"use": "x"}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        states.save(path, saved)
        data = bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(len(data))
            piece = rng.choice([b"", b"[" * 9999, b"9" * 5000, b'"', rng.randbytes(3), b"{}"])
            data[place : place + rng.randrange(9)] = piece
        path.write_bytes(data)
        try:
            states.counters_of(states.load(path), saved["fingerprint"])
        except StateError as error:
            assert len(str(error)) < MOST_TEXT
            return "file: StateError"
        return "file: read"


def module(rng):
    """A damaged state of a sampler or a source."""
    n = rng.randrange(1, 30)
    if rng.random() < 0.5:
        made = feedrace.create("sampler", rng.choice(["sequential", "epoch-aware"]), num_records=n)
    else:
        made = feedrace.create("source", "memory", data={"x": np.arange(n)}, shuffle=True)
    running = iter(made)
    for _ in range(rng.randrange(n)):
        next(running)
    saved = made.get_state()
    wrong = broken(rng, copy.deepcopy(saved))
    try:
        made.set_state(wrong)
    except (StateError, TypeError) as error:
        assert isinstance(error, StateError) or not isinstance(wrong, dict), wrong
        assert len(str(error)) < MOST_TEXT, len(str(error))
        assert made.get_state() == saved
        return f"module: {type(error).__name__}"
    next(iter(made), None)
    return "module: same" if wrong == saved else "module: another place"
