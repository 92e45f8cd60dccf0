"""The host path: record stages in threads and processes, against tf.data, grain, torch, bare calls.

The contenders of a row alternate, each is checked for the same number of unique records, and beside
its records/s stands the time that all its processes together compute for a record: that holds on a
machine that others use, too. The photographs, 1,500 JPEGs of 200 to 700 pixels, are made on first
use. Rows of two cores; on a GPU, those of `host_gpu.py` as well.
"""

import functools
import itertools
import os
import shutil
import statistics
import time
from contextlib import closing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a second process uses the GPU

import host_peers
import numpy as np
from host_costs import first, kills, parent, resume, small
from host_ours import (
    BATCH,
    CORES,
    PHOTOGRAPHS,
    PROCESSES,
    THREADS,
    ours,
    photograph_source,
    photograph_stages,
    rate,
)
from host_work import Busy, Encoded, Made, Numbers, photograph, rounds_of_a_millisecond
from measure import begin, cpu_seconds, options, report, run_rows, take_turns


def computed(function, count):
    """Return records/s, and us of all processes a record, of a function that makes `count`."""
    seconds, began = cpu_seconds(), time.perf_counter()
    function()
    took = time.perf_counter() - began
    return count / took, 1e6 * (cpu_seconds() - seconds) / count


def medians(functions, rounds):
    """Return the median records/s of each contender, and print them with their spread."""
    rates = {}
    for name, results in take_turns(functions, rounds).items():
        found, computed = zip(*results, strict=True)
        rates[name] = statistics.median(found)
        print(f"  {name}: {rates[name]:,.0f} records/s ({min(found):,.0f} to {max(found):,.0f}), "
              f"{statistics.median(computed):,.0f} us of CPU a record", flush=True)  # fmt: skip
    return rates


def against(what, rates, mine, theirs, target):
    """Report the best of some contenders against the best of others."""
    mine, theirs = (max((n for n in rates if n in some), key=rates.get) for some in (mine, theirs))
    detail = f"{mine} {rates[mine]:,.0f} against {theirs} {rates[theirs]:,.0f} records/s"
    report(what, rates[mine] / rates[theirs], target, detail)


def photographs(given):
    """Photographs against the best of the peers, and against the bare calls."""
    source, stages = photograph_source(given), photograph_stages()
    peers = host_peers.photographs(given.data, BATCH, given.epochs, CORES)
    functions = {
        f"{what}, {workers['kind']}": functools.partial(ours, source, stages[what], workers)
        for what, workers in (("fused", PROCESSES), ("same calls", PROCESSES), ("fused", THREADS),
                              ("same calls", THREADS))
    }  # fmt: skip
    functions = {name: functools.partial(one, given.epochs) for name, one in functions.items()}
    timed = {
        name: lambda start=start: rate(start(), PHOTOGRAPHS, given.epochs)
        for name, start in (functions | peers).items()
    }
    path = given.data / "photographs.bin"
    with host_peers.BareCalls(path, 1) as one, host_peers.BareCalls(path, CORES) as two:
        bare = f"bare calls, {CORES} processes"
        timed |= {
            "bare calls, 1 process": lambda: one(given.epochs),
            bare: lambda: two(given.epochs),
        }
        rates = medians(timed, given.rounds)
    against("photographs against the best peer", rates, functions, peers, "1.3")
    against("photographs, fused, against bare calls", rates, ["fused, process"], [bare], "1.2")
    against("photographs, the same calls, against bare calls", rates, ["same calls, process"],
            [bare], "0.9")  # fmt: skip


def busy(given):
    """A stage of 1 ms in pure Python."""
    import feedrace

    count, batch = 500 if given.quick else 2000, 16
    work, source = Busy(rounds_of_a_millisecond()), Made(count, (), np.float32)
    stages = [feedrace.record(work)]
    functions = {
        f"{n} process": functools.partial(
            ours, source, stages, {"kind": "process", "count": n}, 1, batch
        )
        for n in (1, CORES)
    }
    mine = f"{CORES} process"
    peers = host_peers.in_processes(Numbers(count), work, batch, 1, CORES)
    rates = medians({name: lambda start=start: rate(start(), count, 1)
                     for name, start in (functions | peers).items()}, given.rounds)  # fmt: skip
    against("a stage of 1 ms, 2 processes", rates, [mine], ["1 process"], "1.8")
    for name in peers:
        against(f"a stage of 1 ms against {name}", rates, [mine], [name], "1.0")


def streams(given):
    """TFDS streams of 32x32 PNGs and 224x224 JPEGs against the bare decoder."""
    import tfds as sets

    sets.prepare(given.data)
    for name in sets.SETS:
        made = {f: sets.source(given.data, name, f, exclude_keys=["id"]) for f in sets.FORMATS}
        bare = sets.bare_decoder(given.data, name, CORES)
        functions = {
            f"{f}, {workers['kind']}": functools.partial(streamed, source, workers, sets.BATCH)
            for f, source in made.items() for workers in (PROCESSES, THREADS)
        }  # fmt: skip
        functions["bare"] = functools.partial(computed, bare, len(made["tfrecord"]))
        begin(name)
        rates = medians(functions, given.rounds)
        for f in sets.FORMATS:
            mine = [way for way in functions if way.startswith(f + ",")]
            against(f"{name} {f} against the bare decoder", rates, mine, ["bare"], "0.8")


def streamed(source, workers, batch, skip=8):
    """Return records/s, and us of all processes a record, of an epoch and what follows it."""
    import jax

    import feedrace

    pipeline = feedrace.Pipeline(source=source, workers=workers, batch_size=batch, seed=0,
                                 sampler={"use": "epoch-aware", "num_epochs": 3})  # fmt: skip
    steps, counts = 2 * pipeline.plans["train"].batches_per_epoch, []
    skip = min(skip, steps // 4)
    with closing(iter(pipeline)) as batches:

        def go(steps):
            for made in itertools.islice(batches, steps):
                jax.block_until_ready(made)
                counts.append(int(np.asarray(made["valid_mask"]).sum()))

        go(skip)
        found = computed(lambda: go(steps - skip), 2 * len(source) - sum(counts))
    if sum(counts) != 2 * len(source):
        raise RuntimeError(f"two epochs of {len(source)} records have {sum(counts)}")
    return found


def gpu(given):
    """A training step on a GPU, and scaling with the number of workers."""
    import jax

    if jax.default_backend() != "gpu":
        print("(a training step on a GPU is not measured: there is none)")
        return
    import host_gpu

    import feedrace

    counts = [n for n in (1, 2, 4, 8, 16) if n <= len(os.sched_getaffinity(0))]
    source, stages = photograph_source(given), photograph_stages()["fused"]
    pipeline = feedrace.Pipeline(
        source=source, stages=stages, workers={"kind": "process", "count": counts[-1]},
        batch_size=256, drop_remainder=True, seed=0,
        sampler={"use": "epoch-aware", "num_epochs": -1},
    )  # fmt: skip
    with pipeline.steps() as steps:
        host_gpu.waiting((step.batch for step in steps), 20 if given.quick else 100)
    epochs = given.epochs * 4  # an epoch is short for so many workers

    def mine(count):
        return ours(source, stages, {"kind": "process", "count": count}, epochs)

    contenders = {"feedrace": mine}
    if host_peers.peer("tensorflow"):
        contenders["tf.data"] = functools.partial(
            host_peers.tf_data_photographs, given.data, BATCH, epochs
        )
    if host_peers.peer("grain"):
        contenders["grain"] = lambda count: host_peers.grain_records(
            Encoded(given.data / "photographs.bin"), photograph, BATCH, epochs, processes=count
        )

    def timed(batches):
        return rate(batches, PHOTOGRAPHS, epochs, skip=24)

    host_gpu.scaling(contenders, counts, timed, given.rounds)


def prepare(folder):
    """Write the photographs, as TFDS has them and one after another, unless they exist."""
    place, path = folder / "tfrecord", folder / "photographs.bin"
    if not (place / "photographs" / "1.0.0" / "features.json").exists() or not path.exists():
        import image_sets

        place.mkdir(parents=True, exist_ok=True)
        image_sets.Photographs(data_dir=place, file_format="tfrecord").download_and_prepare()
        image_sets.write_encoded(path)


ROWS = {row.__name__: row for row in (photographs, busy, streams, parent, small, first, resume,
                                      kills, gpu)}  # fmt: skip


def main():
    given = options(__doc__, ROWS)
    given.rounds, given.epochs = (1, 1) if given.quick else (3, 2)
    prepare(given.data)
    run_rows(given, ROWS)


if __name__ == "__main__":
    main()
