"""What workers cost: the parent's time, the start, memory, and the loss of some."""

import functools
import hashlib
import itertools
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from contextlib import closing

import numpy as np
from host_ours import (
    PHOTOGRAPHS,
    PROCESSES,
    ours,
    photograph_source,
    photograph_stages,
    rate,
)
from host_work import Made
from measure import alternate, children, figure, private_bytes, report, take_turns

ALIGNED = 64  # bytes; from such an address JAX uses a numpy array as it is


def passing_on(source, batch, skip=10):
    """Return the seconds that this process computes for a batch of 2 processes, and batches/s."""
    import jax

    import feedrace

    rate(ours(source, [], PROCESSES, 1, batch), len(source), 1)  # which checks the records
    pipeline = feedrace.Pipeline(
        source=source, workers=PROCESSES, batch_size=batch, seed=0, sampler={"use": "epoch-aware"}
    )
    with closing(iter(pipeline)) as batches:
        for made in itertools.islice(batches, skip):
            jax.block_until_ready(made)
        count, computed, began = 0, time.process_time(), time.perf_counter()
        for made in batches:
            made["x"].block_until_ready()
            count += 1
        return ((time.process_time() - computed) / count, count / (time.perf_counter() - began))


def parent(given):
    """The CPU time of this process for a batch that others made."""
    import jax

    shape, batch, count = (224, 224, 3), 128, 20 if given.quick else 50
    size = batch * math.prod(shape)
    source = Made(batch * count, shape, np.uint8)

    def put():
        seconds = 0.0
        for _ in range(8):
            memory = np.full(size + ALIGNED, 7, np.uint8)  # as malloc places it: 16 bytes off
            start = (16 - memory.ctypes.data) % ALIGNED
            fresh = memory[start : start + size].reshape(batch, *shape)
            computed = time.process_time()
            jax.device_put(fresh).block_until_ready()
            seconds += time.process_time() - computed
        return seconds / 8

    functions = {"ours": lambda: passing_on(source, batch)[0], "put": put}
    found = take_turns(functions, given.rounds)
    mine, theirs = (statistics.median(found[name]) for name in functions)
    detail = (f"{1e3 * mine:.2f} ms of the parent's CPU against {1e3 * theirs:.2f}; one parent "
              f"passes on {batch / mine:,.0f} photographs/s")  # fmt: skip
    report("a batch of photographs against device_put", mine / theirs, "at most 1.3", detail)


def small(given):
    """The CPU time of this process for small records that others made."""
    batch, count = 1000, 200 if given.quick else 1000
    source = Made(batch * count, (3,), np.float32)
    found = take_turns({"ours": lambda: passing_on(source, batch)}, given.rounds)["ours"]
    computed, rates = (statistics.median(column) for column in zip(*found, strict=True))
    figure("records of 16 bytes, the parent's CPU a record", 1e6 * computed / batch, "us", "0.3")
    print(f"  {batch * rates / 1e6:.2f} million records/s")


def measure_first():
    """Print the seconds of a first batch after building, and the most bytes of a worker."""
    import jax

    import feedrace

    source = Made(1 << 20, (3,), np.float32)
    pipeline = feedrace.Pipeline(source=source, batch_size=1000, workers=PROCESSES, seed=0)
    began = time.perf_counter()
    with pipeline.steps() as steps:
        jax.block_until_ready(next(steps).batch)
        seconds = time.perf_counter() - began
        for _ in range(20):
            next(steps)
        print(seconds, max(map(private_bytes, children())))


def first(given):
    """The first batch after building, and the memory of a worker, in new processes."""
    found = []
    for _ in range(given.rounds):
        made = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(made.stderr)
        found.append([float(word) for word in made.stdout.split()])
    seconds, most = (statistics.median(column) for column in zip(*found, strict=True))
    figure("first batch with 2 processes after building", seconds, "s", "2")
    figure("a worker's memory beyond its reader", most / 2**20, "MiB", "120")


def resume(given):
    """The first batch of a state late in an epoch, against that of a fresh start."""
    import jax

    import feedrace

    pipelines = [
        feedrace.Pipeline(source=photograph_source(given), stages=photograph_stages()["fused"],
                          workers=PROCESSES, batch_size=16, seed=0, sampler={"use": "shuffle"})
        for _ in range(2)
    ]  # fmt: skip
    states = {"start": pipelines[0].get_state()}
    with pipelines[0].steps() as steps:
        for _ in range(int(0.9 * pipelines[0].plans["train"].batches_per_epoch)):
            next(steps)
    states["late"] = pipelines[0].get_state()

    def back(state):
        pipelines[1].set_state(state)
        with pipelines[1].steps() as steps:
            jax.block_until_ready(next(steps).batch)

    seconds = alternate({name: functools.partial(back, state) for name, state in states.items()},
                        2 if given.quick else 5)  # fmt: skip
    detail = f"{seconds['late']:.2f} s against {seconds['start']:.2f}"
    report("first batch at 90% of an epoch against a fresh start",
           seconds["late"] / seconds["start"], "at most 1.5", detail)  # fmt: skip


def kills(given):
    """An epoch during which workers are killed, against one without."""
    import feedrace

    batch, wanted = 16, 5 if given.quick else 20
    every = PHOTOGRAPHS // batch // (wanted + 1)

    def digest(killing):
        pipeline = feedrace.Pipeline(
            source=photograph_source(given), stages=photograph_stages()["fused"],
            workers=PROCESSES, batch_size=batch, seed=0, sampler={"use": "shuffle"},
        )  # fmt: skip
        made, killed = hashlib.sha256(), 0
        for k, one in enumerate(pipeline, 1):
            for name in sorted(one):
                made.update(np.asarray(one[name]).tobytes())
            if killing and k % every == 0 and killed < wanted:
                while not (alive := children()):  # all are being replaced
                    time.sleep(0.01)
                os.kill(alive[killed % len(alive)], signal.SIGKILL)
                killed += 1
        return made.hexdigest(), killed

    before = set(os.listdir("/dev/shm"))
    whole, _ = digest(False)
    with warnings.catch_warnings(action="ignore", category=feedrace.errors.WorkerWarning):
        same, killed = digest(True)
    left = set(os.listdir("/dev/shm")) - before
    print(f"{killed} kills of workers in one epoch: the bytes are "
          f"{'the same' if whole == same else 'NOT the same'}, {len(left)} files are left in "
          f"/dev/shm and {len(children())} processes (to be: the same, 0, 0)")  # fmt: skip


if __name__ == "__main__":
    measure_first()
