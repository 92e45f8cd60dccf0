"""Check that stopping and resuming a pipeline loses and repeats nothing."""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import attrs

from feedrace.config.fields import check_integer
from feedrace.errors import FeedraceError, text_of
from feedrace.host.progress import progress
from feedrace.protocols import Counted, CountedAtLeast, provides

_REFUSED = 3  # the exit status of a part that ended with a `FeedraceError`


@attrs.frozen(kw_only=True)
class Verdict:
    """What a comparison of an unbroken run with a broken one showed.

    stops: after how many steps the broken run stopped; each part ran in another process.
    difference: the first step at which the two differ, in words; empty if none does.
    """

    steps: int
    records: int
    stops: tuple[int, ...]
    difference: str


def verify_resume(
    config: str | os.PathLike[str], *, stops: int = 3, steps: int | None = None, seed: int = 0
) -> Verdict:
    """Return how a run that is stopped and resumed compares with an unbroken one.

    Every part of a run is a separate process, which gets the state and nothing else. Record
    numbers are compared, and a digest of each batch's contents.

    stops: number of times to stop, at steps that `seed` draws. steps: how many to run; by default
        one pass, which must end.

    Raises `FeedraceError` if a process fails, with what it raised, and for fewer than 2 steps;
    `ConfigError` for fewer than 1 stop.
    """
    check_integer("stops", stops, 1)
    with (
        tempfile.TemporaryDirectory(prefix="feedrace-verify-") as folder,
        progress("verify resume", stops + 2, "parts") as advance,
    ):
        whole = _part(config, Path(folder), False, steps)
        advance(1)
        if len(whole) < 2:
            raise FeedraceError(f"a run of {len(whole)} steps cannot be stopped in the middle")
        drawn = random.Random(seed).sample(range(1, len(whole)), min(stops, len(whole) - 1))
        places = sorted(drawn)
        broken: list[Any] = []
        for begin, end in pairwise([0, *places, len(whole)]):
            broken += _part(config, Path(folder), begin > 0, end - begin)
            advance(1)
    return Verdict(
        steps=len(whole),
        records=sum(len(step[4]) for step in whole),
        stops=tuple(places),
        difference=_difference(whole, broken),
    )


def _difference(whole: list[Any], broken: list[Any]) -> str:
    names = ("stream", "epoch", "update", "sample", "records", "contents")
    for number, (expected, got) in enumerate(zip(whole, broken, strict=False), 1):
        pairs = zip(names, expected, got, strict=True)
        differing = [f"{name} {b!r} instead of {a!r}" for name, a, b in pairs if a != b]
        if differing:
            return f"step {number}: {', '.join(differing)}"
    return "" if len(whole) == len(broken) else f"{len(broken)} steps instead of {len(whole)}"


def _part(config: Any, folder: Path, resume: bool, steps: int | None) -> list[Any]:
    """Run a part in a new process, from the state that the part before left in `folder`."""
    asked = {
        "config": os.fspath(config),
        "steps": steps,
        "state": str(folder / "state.json") if resume else None,
        "save": str(folder / "state.json"),
        "out": str(folder / "steps.json"),
    }
    command = [sys.executable, "-m", "feedrace.pipeline.verify", json.dumps(asked)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == _REFUSED:
        raise FeedraceError(f"a part of the run failed: {done.stderr.strip()}")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise FeedraceError(f"a part of the run failed: {lines[-1]}\n{done.stderr}".strip())
    served: list[Any] = json.loads((folder / "steps.json").read_text())
    return served


def _run(asked: dict[str, Any]) -> None:
    """Run one part, in its own process."""
    from feedrace.pipeline.assemble import load
    from feedrace.plan import state

    pipeline, wanted = load(asked["config"]), asked["steps"]
    if asked["state"]:
        pipeline.set_state(state.load(asked["state"]))
    scheduler: Any = pipeline.scheduler
    if wanted is None and _is_endless(scheduler, pipeline.plans):
        raise FeedraceError("its pass never ends; give the number of steps to run (--steps)")
    served: list[Any] = []
    while wanted is None or len(served) < wanted:
        with pipeline.steps() as steps:
            left = None if wanted is None else wanted - len(served)
            served += [_shown(step) for step in islice(steps, left)]
        if wanted is None:
            break
    state.save(asked["save"], pipeline.get_state())
    Path(asked["out"]).write_text(json.dumps(served))


def _is_endless(scheduler: Any, plans: Any) -> bool:
    if provides(scheduler, CountedAtLeast):
        return scheduler.least_steps_per_pass(plans) is None
    return provides(scheduler, Counted) and scheduler.steps_per_pass(plans) is None


def _shown(step: Any) -> list[Any]:
    import jax
    import numpy as np

    digest = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(step.batch):
        if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        text = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        digest.update(jax.tree_util.keystr(path).encode() + text)
    records = np.asarray(step.indices).tolist()
    return [step.stream, step.epoch, step.update, step.sample, records, digest.hexdigest()]


if __name__ == "__main__":
    try:
        _run(json.loads(sys.argv[1]))
    except FeedraceError as refused:  # which says what is wrong; where it was raised does not help
        print(text_of(refused), file=sys.stderr)
        sys.exit(_REFUSED)
