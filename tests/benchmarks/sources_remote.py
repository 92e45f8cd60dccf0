"""Sources at an address against the same files on the disk: the rate, and resuming late.

A server of HTTP in a process of its own gives ranges on loopback and waits 20 ms before each
answer. The tables of where records begin are kept from before; the cache of blocks is empty at the
start of each epoch that is measured.
"""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import alternate, cpu_seconds, report, take_turns

LATENCY = 0.02  # seconds
BATCH = 256
THREADS = {"kind": "thread", "count": len(os.sched_getaffinity(0))}
SKIP = 2  # batches that are not timed: functions are compiled


@contextlib.contextmanager
def addresses(folder: Path, latency: float = LATENCY):
    """Yield the addresses of a folder's files, in the order of their names."""
    from feedrace_testing.servers import serving

    with serving(folder, latency) as url:
        yield [f"{url}/{path.name}" for path in sorted(folder.iterdir()) if path.is_file()]


class Cold:
    """Makes a source whose blocks are not in the cache, and whose tables are.

    source: the keys of a config: `use`, and the fields of the source but for `cache_dir`.
    """

    def __init__(self, source) -> None:
        self._source = source
        self._kept = tempfile.TemporaryDirectory()
        self._made = tempfile.TemporaryDirectory()
        self.records = len(self._at(self._kept.name))

    def __call__(self):
        self._made.cleanup()
        self._made = tempfile.TemporaryDirectory()
        with contextlib.suppress(FileNotFoundError):  # a source without tables
            shutil.copytree(f"{self._kept.name}/tables", f"{self._made.name}/tables")
        return self._at(self._made.name)

    def warm(self):
        """Return a source whose blocks are as the last one left them."""
        return self._at(self._made.name)

    def _at(self, folder):
        import feedrace

        fields = {key: value for key, value in self._source.items() if key != "use"}
        return feedrace.create("source", self._source["use"], cache_dir=folder, **fields)

    def close(self):
        self._kept.cleanup()
        self._made.cleanup()


def epoch(source, **pipeline):
    """Return records/s, and us of CPU of all processes a record, of a shuffled epoch.

    pipeline: arguments of `feedrace.Pipeline`, such as `stages`.
    """
    import jax
    import numpy as np

    import feedrace

    given = {"workers": THREADS, "batch_size": BATCH, "seed": 0, **pipeline}
    made = feedrace.Pipeline(
        source=source, sampler={"use": "epoch-aware", "num_epochs": 1}, **given
    )
    total = timed = 0
    with contextlib.closing(iter(made)) as batches:
        for k, made in enumerate(batches):
            count = int(np.asarray(jax.block_until_ready(made["valid_mask"])).sum())
            total, timed = total + count, timed + count if k > SKIP else 0
            if k == SKIP:
                computed, began = cpu_seconds(), time.perf_counter()
    seconds = time.perf_counter() - began
    if total != len(source):
        raise RuntimeError(f"an epoch has {total} of {len(source)} records")
    return timed / seconds, 1e6 * (cpu_seconds() - computed) / timed


def share(source, folder, what, rounds=3, **pipeline):
    """Report the rate of a source at addresses against that of the same source on the disk.

    source: `use` and fields, without `path`. folder: its files. pipeline: as `epoch` has it.
    """
    local = Cold({**source, "path": [str(path) for path in sorted(folder.iterdir())]})
    with addresses(folder) as urls, contextlib.closing(local):
        remote = Cold({**source, "path": urls})
        with contextlib.closing(remote):
            found = take_turns(
                {
                    "local": lambda: epoch(local(), **pipeline),
                    "remote": lambda: epoch(remote(), **pipeline),
                    "remote, second epoch": lambda: epoch(remote.warm(), **pipeline),
                },
                rounds,
            )
    rates = {}
    for name, results in found.items():
        rate, computed = zip(*results, strict=True)
        rates[name] = statistics.median(rate)
        print(f"  {name}: {rates[name]:,.0f} records/s ({min(rate):,.0f} to {max(rate):,.0f}), "
              f"{statistics.median(computed):,.0f} us of CPU a record", flush=True)  # fmt: skip
    what = f"{what} by HTTP ranges with {1e3 * LATENCY:.0f} ms added"
    detail = f"{rates['remote']:,.0f} against {rates['local']:,.0f} records/s"
    report(f"{what}, against the disk", rates["remote"] / rates["local"], "0.8", detail)
    again = rates["remote, second epoch"]
    report(f"{what}, the second epoch", again / rates["local"], "0.8", f"{again:,.0f} records/s")


def resume(source, folder, what, rounds=5, **pipeline):
    """Report the first batch of a state at 90% of an epoch, against that of a fresh start."""
    with addresses(folder) as urls:
        late_start(Cold({**source, "path": urls}), f"{what} by HTTP", rounds, **pipeline)


def late_start(make, what, rounds=5, **pipeline):
    """Report the first batch of a state at 90%, of sources that `make` makes anew each time."""
    import jax

    import feedrace

    given = {"workers": THREADS, "batch_size": BATCH, "seed": 0, **pipeline}

    def start():
        return feedrace.Pipeline(source=make(), sampler={"use": "shuffle"}, **given)

    with contextlib.closing(make):
        made = start()
        states = {"start": made.get_state()}
        with made.steps() as steps:
            for step in steps:  # how many batches there are shows only when they are read
                if step.sample >= 0.9 * made.plans["train"].records_per_epoch:
                    break
        states["late"] = made.get_state()

        def back(name):
            made = start()
            made.set_state(states[name])
            with made.steps() as steps:
                jax.block_until_ready(next(steps).batch["valid_mask"])

        seconds = alternate({name: lambda name=name: back(name) for name in states}, rounds)
    detail = f"{1e3 * seconds['late']:.0f} ms against {1e3 * seconds['start']:.0f}"
    report(f"{what}, resume at 90%", seconds["late"] / seconds["start"], "at most 1.5", detail)


def remote(given):
    """Lines of text at addresses, each request of which takes 20 ms."""
    rng = np.random.default_rng(0)
    tokens = {
        "stages": [{"use": "byte-tokens", "field": "text", "into": "tokens", "keep": False,
                    "max_length": 512}],
        "batcher": {"use": "bucket", "fields": ["tokens"], "boundaries": [512]},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for number in range(8):
            with open(f"{folder}/{number}.txt", "wb") as file:
                for _ in range(1000 if given.quick else 10_000):
                    line = rng.integers(97, 123, int(rng.integers(50, 2000)), np.uint8)
                    file.write(line.tobytes() + b"\n")
        source, what = {"use": "text-lines"}, "lines to tokens"
        share(source, Path(folder), what, given.rounds, **tokens)
        resume(source, Path(folder), what, given.rounds, **tokens)


ROWS = {"remote": remote}
