"""What the rows on sources share: data that are made once, an empty cache, and resuming late."""

import contextlib
import functools
import os
import shutil
import tempfile

from measure import alternate, report


def made_once(folder, write):
    """Return a folder, filled by `write(folder)` if it is not there yet."""
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(unfinished)
        unfinished.rename(folder)
    return folder


@contextlib.contextmanager
def empty_cache():
    """Keep tables in a folder that is empty at first."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("FEEDRACE_CACHE_DIR")
        os.environ["FEEDRACE_CACHE_DIR"] = folder
        try:
            yield folder
        finally:
            os.environ.pop("FEEDRACE_CACHE_DIR")
            if before is not None:
                os.environ["FEEDRACE_CACHE_DIR"] = before


def late_start(name, running, resumed):
    """Report the first batch at 90% of an epoch against that of a fresh start.

    running, resumed: two equal pipelines.
    """
    import jax

    states = {"start": running.get_state()}
    with running.steps() as steps:
        for _ in range(int(0.9 * running.plans["train"].batches_per_epoch)):
            next(steps)
    states["late"] = running.get_state()

    def back(state):
        resumed.set_state(state)
        with resumed.steps() as steps:
            jax.block_until_ready(next(steps).batch)

    seconds = alternate({at: functools.partial(back, state) for at, state in states.items()}, 7)
    report(f"resume of {name} at 90% against a fresh start",
           seconds["late"] / seconds["start"], "at most 1.5",
           f"{seconds['late'] * 1e3:.1f} ms against {seconds['start'] * 1e3:.1f}")  # fmt: skip
