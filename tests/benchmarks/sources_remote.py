"""Sources at an address against the same files on the disk: the rate, and resuming late.

A server of HTTP in a process of its own gives ranges on loopback and waits 20 ms before each
answer. The tables of where records begin are kept from before; the cache of blocks is empty at the
start of each epoch that is measured.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

from measure import alternate, cpu_seconds, report, take_turns

LATENCY = 0.02  # seconds
BATCH = 256
THREADS = {"kind": "thread", "count": len(os.sched_getaffinity(0))}
SKIP = 8  # batches that are not timed


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

    def __init__(self, source: Mapping[str, Any]) -> None:
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


def epoch(source, stages=(), workers=THREADS, batch=BATCH):
    """Return records/s, and us of CPU of all processes a record, of a shuffled epoch."""
    import jax
    import numpy as np

    import feedrace

    pipeline = feedrace.Pipeline(
        source=source, stages=list(stages), workers=workers, batch_size=batch, seed=0,
        sampler={"use": "epoch-aware", "num_epochs": 1},
    )  # fmt: skip
    total = timed = 0
    with contextlib.closing(iter(pipeline)) as batches:
        for k, made in enumerate(batches):
            count = int(np.asarray(jax.block_until_ready(made["valid_mask"])).sum())
            total, timed = total + count, timed + count if k > SKIP else 0
            if k == SKIP:
                computed, began = cpu_seconds(), time.perf_counter()
    seconds = time.perf_counter() - began
    if total != len(source):
        raise RuntimeError(f"an epoch has {total} of {len(source)} records")
    return timed / seconds, 1e6 * (cpu_seconds() - computed) / timed


def share(source: Mapping[str, Any], folder: Path, stages=(), rounds=3, what=None, target="0.8"):
    """Report the rate of a source at addresses against that of the same source on the disk.

    source: `use` and fields, without `path`. folder: its files.
    """
    local = Cold({**source, "path": [str(path) for path in sorted(folder.iterdir())]})
    with addresses(folder) as urls, contextlib.closing(local):
        remote = Cold({**source, "path": urls})
        with contextlib.closing(remote):
            found = take_turns(
                {
                    "local": lambda: epoch(local(), stages),
                    "remote": lambda: epoch(remote(), stages),
                    "remote, second epoch": lambda: epoch(remote.warm(), stages),
                },
                rounds,
            )
    rates = {}
    for name, results in found.items():
        rate, computed = zip(*results, strict=True)
        rates[name] = statistics.median(rate)
        print(f"  {name}: {rates[name]:,.0f} records/s ({min(rate):,.0f} to {max(rate):,.0f}), "
              f"{statistics.median(computed):,.0f} us of CPU a record", flush=True)  # fmt: skip
    what = what or f"{source['use']} by HTTP ranges with {1e3 * LATENCY:.0f} ms added"
    detail = f"{rates['remote']:,.0f} against {rates['local']:,.0f} records/s"
    report(f"{what}, against the disk", rates["remote"] / rates["local"], target, detail)
    again = rates["remote, second epoch"]
    report(f"{what}, second epoch", again / rates["local"], target, f"{again:,.0f} records/s")


def resume(source: Mapping[str, Any], folder: Path, stages=(), rounds=5, what=None):
    """Report the first batch of a state at 90% of an epoch, against that of a fresh start."""
    with addresses(folder) as urls:
        late_start(
            Cold({**source, "path": urls}), stages, rounds, what or f"{source['use']} by HTTP"
        )


def late_start(make, stages, rounds, what):
    """Report the first batch of a state at 90%, of sources that `make` makes anew each time."""
    import jax

    import feedrace

    def pipeline():
        return feedrace.Pipeline(source=make(), stages=list(stages), workers=THREADS, seed=0,
                                 batch_size=BATCH, sampler={"use": "shuffle"})  # fmt: skip

    with contextlib.closing(make):
        made = pipeline()
        states = {"start": made.get_state()}
        with made.steps() as steps:
            for _ in range(int(0.9 * made.plans["train"].batches_per_epoch)):
                next(steps)
        states["late"] = made.get_state()

        def back(name):
            made = pipeline()
            made.set_state(states[name])
            with made.steps() as steps:
                jax.block_until_ready(next(steps).batch)

        seconds = alternate({name: lambda name=name: back(name) for name in states}, rounds)
    detail = f"{1e3 * seconds['late']:.0f} ms against {1e3 * seconds['start']:.0f}"
    report(f"{what}, resume at 90%", seconds["late"] / seconds["start"], "at most 1.5", detail)


def letters(record):
    """Return the first 256 bytes of a text, as a record stage."""
    import numpy as np

    made = np.zeros(256, np.uint8)
    text = record["text"].encode()[:256]
    made[: len(text)] = np.frombuffer(text, np.uint8)
    return {"x": made}


def main():
    import numpy as np

    import feedrace
    from feedrace.plugin import LeafSpec

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds")
    quick = parser.parse_args().quick
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(8):
            with open(f"{folder}/{number}.txt", "wb") as file:
                for _ in range(1000 if quick else 20_000):
                    size = int(rng.integers(50, 2000))
                    line = rng.integers(97, 123, size, np.uint8)
                    file.write(line.tobytes() + b"\n")
        source = {"use": "text-lines"}
        stages = [feedrace.record(letters, spec=lambda before: {"x": LeafSpec((256,), np.uint8)})]
        share(source, Path(folder), stages, rounds=1 if quick else 3)
        resume(source, Path(folder), stages, rounds=1 if quick else 5)


if __name__ == "__main__":
    main()
