"""What every loader's program does: serve batches, log each, save states, go on from the last one.

usage: python PROGRAM.py GIVEN, with the Python of an environment that has the loader

`GIVEN` is JSON: `data` (a folder of JSON Lines files with `id` and `text`), `folder` (for the log
and the states), `records`, `epochs`, `workers`, `every` (batches from one saved state to the next),
`pause` (seconds a batch, for the training step that these programs do not have) and, to measure how
soon the first batch comes from some saved states, `first` (their names).

A loader is a class, called with `given` and a saved state or None. It yields batches: dicts of the
`epoch`, or None if epochs run into one another, the `ids` of the records that begin in it, and
`rows`, what makes up the batch as a list of bytes; a loader that packs also counts the `tokens` of
a batch that are no padding, and the `room`. `state()` returns bytes, after a batch.
"""

import hashlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

SHARES = (5, 50, 95)
REPEATS = 3


class Texts:
    """The texts of a folder by number, for loaders that ask for them so."""

    def __init__(self, folder):
        files = sorted(Path(folder).glob("*.jsonl"))
        self.lines = [line for file in files for line in file.read_bytes().splitlines()]

    def __len__(self):
        return len(self.lines)

    def record(self, i):
        return json.loads(self.lines[i])


def digest(data):
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def entry(batch):
    """Return what the log says of a batch."""
    rows = [digest(row) for row in batch["rows"]]
    return {**batch, "ids": [int(i) for i in batch["ids"]], "rows": rows}


def saved(path):
    """Return (batches served, state) of a file, (0, None) if it is not there."""
    if not path.exists():
        return 0, None
    at, state = path.read_bytes().split(b"\n", 1)
    return int(at), state


def save(path, at, state):
    """Write a state whole or not at all."""
    path.with_suffix(".new").write_bytes(b"%d\n%b" % (at, state))
    os.replace(path.with_suffix(".new"), path)


def serve(loader, given):
    folder = Path(given["folder"])
    at, state = saved(folder / "state")
    run = loader(given, state)
    seen, shares = 0, list(SHARES) * (at == 0)
    with open(folder / given["log"], "a", buffering=1) as log:
        log.write(json.dumps({"begin": at}) + "\n")
        for batch in run:
            at += 1
            log.write(json.dumps(entry(batch)) + "\n")
            seen += len(batch["ids"])
            if at % given["every"] == 0:
                save(folder / "state", at, run.state())
            if shares and seen * 100 >= shares[0] * given["records"]:
                save(folder / f"state-{shares.pop(0)}", at, run.state())
            time.sleep(given["pause"])
        log.write(json.dumps({"end": at}) + "\n")


def seconds_to_first(loader, given):
    """Return the seconds from opening to the first batch from each state, the median of three.

    Everything is imported, and one batch was made before.
    """
    folder = Path(given["folder"])
    next(iter(loader(given, None)))
    found = {}
    for name in given["first"]:
        _, state = saved(folder / name)
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            batches = iter(loader(given, state))
            next(batches)
            times.append(time.perf_counter() - began)
            del batches
        found[name] = sorted(times)[REPEATS // 2]
    return found


def main(module):
    given = json.loads(sys.argv[1])
    if "first" in given:
        packages = module.PACKAGES
        print("\n" + json.dumps({
            "loader": module.NAME,
            "how": module.HOW,
            "workers": module.WORKERS,
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "seconds": seconds_to_first(module.Loader, given),
        }))  # fmt: skip
    else:
        serve(module.Loader, given)
    sys.stdout.flush()
    os._exit(0)  # loaders differ in how long their threads and workers take to end
