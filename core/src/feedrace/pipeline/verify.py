"""Prove on what a pipeline serves that stopping and resuming it loses and repeats nothing."""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from feedrace.config.fields import check_integer
from feedrace.errors import FeedraceError
from feedrace.protocols import Counted, provides


@attrs.frozen(kw_only=True)
class Verdict:
    """What a comparison of an unbroken run with a broken one has shown.

    stops: after how many steps the broken run was stopped, each time in another process.
    difference: the first step where the two differ, in words; empty if none does.
    """

    steps: int
    records: int
    stops: tuple[int, ...]
    difference: str


def verify_resume(
    config: str | os.PathLike[str], *, stops: int = 3, steps: int | None = None, seed: int = 0
) -> Verdict:
    """Return how a run that is stopped and resumed compares with an unbroken one.

    Every part of a run is a process of its own, which is given the state and nothing else. Record
    numbers are compared, and a digest of each batch's contents.

    stops: number of times to stop, at steps that `seed` draws. steps: how many to run; one pass by
        default, which has to end.

    Raises `FeedraceError` if a process fails, with its message, and for fewer than 2 steps;
    `ConfigError` for fewer than 1 stop.
    """
    check_integer("stops", stops, 1)
    with tempfile.TemporaryDirectory(prefix="feedrace-verify-") as folder:
        whole = _part(config, Path(folder), None, steps)
        if len(whole) < 2:
            raise FeedraceError(f"a run of {len(whole)} steps cannot be stopped in the middle")
        places = random.Random(seed).sample(range(1, len(whole)), min(stops, len(whole) - 1))
        places.sort()
        broken: list[Any] = []
        for i, end in enumerate([*places, len(whole)]):
            begin = places[i - 1] if i else 0
            broken += _part(config, Path(folder), i, end - begin)
    return Verdict(
        steps=len(whole),
        records=sum(len(step[4]) for step in whole),
        stops=tuple(places),
        difference=_difference(whole, broken),
    )


def _difference(whole: list[Any], broken: list[Any]) -> str:
    for number, (expected, got) in enumerate(zip(whole, broken, strict=False), 1):
        if expected != got:
            names = ("stream", "epoch", "update", "sample", "records", "contents")
            differing = [
                f"{name} {b!r} instead of {a!r}"
                for name, a, b in zip(names, expected, got, strict=True)
                if a != b
            ]
            return f"step {number}: {', '.join(differing)}"
    if len(whole) != len(broken):
        return f"{len(broken)} steps instead of {len(whole)}"
    return ""


def _part(config: Any, folder: Path, number: int | None, steps: int | None) -> list[Any]:
    """Run a part in a new process; with a number, from the state before it, leaving another."""
    out = folder / "steps.json"
    before, after = folder / f"state-{number}.json", folder / f"state-{(number or 0) + 1}.json"
    asked = {
        "config": os.fspath(config),
        "steps": steps,
        "state": str(before) if number else None,
        "save": None if number is None else str(after),
        "out": str(out),
    }
    command = [sys.executable, "-m", "feedrace.pipeline.verify", json.dumps(asked)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise FeedraceError(f"a part of the run failed: {lines[-1]}\n{done.stderr}".strip())
    served: list[Any] = json.loads(out.read_text())
    out.unlink()
    return served


def _run(asked: dict[str, Any]) -> None:
    """Run one part, in its own process."""
    from feedrace.pipeline.assemble import load
    from feedrace.plan import state

    pipeline = load(asked["config"])
    if asked["state"]:
        pipeline.set_state(state.load(asked["state"]))
    scheduler = pipeline.scheduler
    is_counted = asked["steps"] is None and provides(scheduler, Counted)
    if is_counted and scheduler.steps_per_pass(pipeline.plans) is None:
        raise FeedraceError("its pass never ends; give the number of steps to run (--steps)")
    served: list[Any] = []
    while asked["steps"] is None or len(served) < asked["steps"]:
        left = None if asked["steps"] is None else asked["steps"] - len(served)
        with pipeline.steps() as steps:
            served += [_shown(step) for step in islice(steps, left)]
        if asked["steps"] is None:
            break
    if asked["save"]:
        state.save(asked["save"], pipeline.get_state())
    Path(asked["out"]).write_text(json.dumps(served))


def _shown(step: Any) -> list[Any]:
    import jax
    import numpy as np

    digest = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(step.batch):
        if not hasattr(leaf, "dtype"):
            leaf = np.asarray(leaf)
        if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        text = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        digest.update(jax.tree_util.keystr(path).encode() + text)
    records = np.asarray(step.indices).tolist()
    return [step.stream, step.epoch, step.update, step.sample, records, digest.hexdigest()]


if __name__ == "__main__":
    _run(json.loads(sys.argv[1]))
