"""Costs as they grow: with the number of records, the position to resume at, and the workers.

usage: curves.py [--quick] [--only ROW ...] [--peers DIR]. Each row prints the points of a chart.
Peers run in processes of their own, by the Python of an environment below DIR, after ours; a quick
run makes no environment. The row of workers needs TFDS.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measure import QUICK, alternate, figure, options, point, report, run_rows
from serve_curves import BATCH, SIZES, first_batches, number_costs, resumed, rows, sizes_to

FOLDER = Path(__file__).parent
SHOW = FOLDER.parents[1] / "docs" / "examples" / "show"
SHUFFLE = {"use": "shuffle"}
LARGEST = SIZES[-1]
ORDERS = {
    "Feedrace": "Order(n, 1).indices(k, k + 128)",
    "numpy permutation": "order[k : k + 128]",
    "bare Python and numpy": "None",
}
MEMORY = """
import sys
import numpy as np
name, n = sys.argv[1], int(sys.argv[2])
if name == "Feedrace":
    from feedrace.plugin import Order
if name == "numpy permutation":
    order = np.random.default_rng(0).permutation(n)
for k in range(n // 2, min(n // 2 + 128 * 1000, n), 128):
    {taken}
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def from_peers(given, row, names):
    """Let peers print their points of a row."""
    sys.path.insert(0, str(SHOW))
    import peers as environments

    for name in names:
        try:
            python = environments.python_of(name, given.peers.absolute(), make=not QUICK)
        except RuntimeError as error:
            print(f"({name} is not measured: {' '.join(str(error).split())})", flush=True)
            continue
        command = [python, FOLDER / "serve_curves.py", name, row, *["--quick"] * QUICK]
        done = subprocess.run(command, text=True, capture_output=True)
        print(done.stdout, end="", flush=True)
        if done.returncode:
            print(f"({name} is not measured: {' '.join(done.stderr.split())[-200:]})", flush=True)


def sizes(given):
    """A record's number, and the first batch of an epoch, for 1,000 to 10^9 records and beyond."""
    import jax  # with which `Order` computes
    from host_work import Made

    import feedrace
    from feedrace.plan.steps import plan_stream
    from feedrace.plugin import Order

    def bulk(n, count):
        return Order(n, 1).indices(n - count, n)

    def plan(n):
        sampler = feedrace.create("sampler", "epoch-aware", num_records=n)
        stream = plan_stream("train", sampler, batch_size=BATCH, drop_remainder=False)
        return next(stream.batches(0))

    def pipeline(n):
        source = Made(n, (8,), np.float32)
        made = feedrace.Pipeline(source=source, sampler=SHUFFLE, batch_size=BATCH, seed=0)
        with made.steps() as steps:
            return jax.block_until_ready(next(steps).batch)

    permutation = np.random.default_rng(0).permutation
    largest = 10**6 if QUICK else 10**8
    number_costs("Feedrace", bulk, LARGEST)
    number_costs("numpy permutation", lambda n, count: permutation(n), largest, most=10**9)
    first_batches("Feedrace", plan, LARGEST)
    first_batches("Feedrace, a pipeline", pipeline, 10**9)
    first_batches("numpy permutation", lambda n: permutation(n)[:BATCH], largest)
    seconds = alternate({n: functools.partial(plan, n) for n in (SIZES[0], 10**9, LARGEST)}, 21)
    for n in (10**9, LARGEST):
        report(f"first batch's numbers of {n:,} records against 1,000", seconds[n] / seconds[1000],
               "none", f"{1e3 * seconds[n]:.2f} ms against {1e3 * seconds[1000]:.2f}")  # fmt: skip
    from_peers(given, "sizes", ("torch", "grain"))


def memory(given):
    """The most memory that a process has which takes batches from the middle of an epoch."""
    found = {}
    for name, taken in ORDERS.items():
        for n in sizes_to(LARGEST if name != "numpy permutation" else 10**7 if QUICK else 10**8):
            program = MEMORY.format(taken=taken)
            command = [sys.executable, "-c", program, name, str(n)]
            done = subprocess.run(command, text=True, capture_output=True, check=True)
            found[name, n] = int(done.stdout) / 2**10
            point("memory", name, found[name, n], "MiB", n, "records")
    more = found["Feedrace", LARGEST] - found["Feedrace", SIZES[0]]
    figure("memory of the order of 10^12 records beyond that of 1,000", max(more, 0), "MiB", "5")


def resume(given):
    """The first batch after a state, at places of an epoch."""
    import jax

    import feedrace

    source = {"x": rows()}
    pipeline = feedrace.Pipeline(source=source, sampler=SHUFFLE, batch_size=BATCH, seed=0)
    start = pipeline.get_state()

    def first_after(batches):
        pipeline.set_state({**start, "counters": {"pass": 0, "update": batches}})
        with pipeline.steps() as steps:
            return jax.block_until_ready(next(steps).batch)

    resumed("Feedrace, by its state", first_after)
    from_peers(given, "resume", ("torch", "tensorflow", "grain"))


def workers(given):
    """Photographs and a stage of 1 ms of Python by 1, 2 and 4 threads and processes."""
    import host
    import host_ours
    from host_work import Busy, Made, rounds_of_a_millisecond

    import feedrace

    host.prepare(given.data)
    count = 300 if QUICK else 1000
    busy = feedrace.record(Busy(rounds_of_a_millisecond()))
    photographs = host_ours.photograph_source(given)
    work = {
        "photographs": (photographs, host_ours.photograph_stages()["fused"], 64),
        "1 ms of Python": (Made(count, (), np.float32), [busy], 16),
    }
    for what, (source, stages, batch) in work.items():
        for kind in ("process", "thread"):
            for number in (1, 2, 4):
                chosen = {"kind": kind, "count": number}
                batches = host_ours.ours(source, stages, chosen, 1, batch)
                rate, _ = host_ours.rate(batches, len(source), 1)
                plural = "processes" if kind == "process" else "threads"
                point("workers", f"{what}, {plural}", rate, "records/s", number, "workers")


ROWS = {row.__name__: row for row in (sizes, memory, resume, workers)}


if __name__ == "__main__":
    run_rows(options(__doc__, ROWS, peers=True), ROWS)
