"""What every loader's program does: serve epochs of records, and write down which records came.

usage: python LOADER.py DATA.npz OUT.npz [rate], with the Python of an environment that has the
loader. With `rate` it writes down how many records came a second, and not which.

A loader's module defines `epochs(data, seed, count)`, which yields `count` epochs of a shuffled
run, each an iterable of batches (dicts of arrays with the fields of `data`), or None if the loader
does not say where its epochs end; then it yields one stream, which is cut every `len(data)`
records. `held_out(data, seed, count)` does the same for a training part of four fifths, made as the
loader's users make it, and returns (ids of the test part, epochs). A module whose epochs cannot be
timed one after another defines `timed`, called as `epochs`; `TIMED` is how many are, after the
first.
"""

import importlib.metadata
import json
import sys
import time

import numpy as np

BATCH = 128
SEEDS, EPOCHS, LEAK_EPOCHS, TIMED = 3, 2, 5, 3


def ids_of(epochs, size):
    """Return the ids of each epoch as arrays, and touch every batch."""
    stream = []
    for epoch in epochs:
        ids = []
        for batch in epoch:
            valid = batch.get("valid_mask")
            one = np.asarray(batch["id"])
            ids.append(one if valid is None else one[np.asarray(valid)])
        stream.append(np.concatenate(ids) if ids else np.empty(0, np.int64))
    if len(stream) == 1 and len(stream[0]) > size + BATCH:  # epochs run into one another
        whole = stream[0]
        stream = [whole[start : start + size] for start in range(0, len(whole), size)]
    return [ids.astype(np.int64) for ids in stream]


def seconds_of_an_epoch(epoch):
    """Return the seconds that a loop over one epoch takes, and its records."""
    began, records = time.perf_counter(), 0
    for batch in epoch:
        records += len(batch["id"])
        np.asarray(batch["image"])[0, 0, 0]
    return time.perf_counter() - began, records


def main(loader):
    data = dict(np.load(sys.argv[1]))
    size = len(data["id"])
    made, only_rate = {}, sys.argv[3:] == ["rate"]
    for seed in range(0 if only_rate else SEEDS):
        for number, ids in enumerate(ids_of(loader.epochs(data, seed, EPOCHS), size)):
            made[f"seed {seed} epoch {number}"] = ids
    rates = []
    timed = getattr(loader, "timed", loader.epochs)
    for epoch in timed(data, 0, 1 + getattr(loader, "TIMED", TIMED)):
        seconds, records = seconds_of_an_epoch(epoch)
        if records:
            rates.append(records / seconds)
    rates = rates[1:] or rates  # the first epoch compiles and warms up
    leaked = None
    if hasattr(loader, "held_out") and not only_rate:
        test, epochs = loader.held_out(data, 0, LEAK_EPOCHS)
        seen = np.concatenate(ids_of(epochs, size))
        leaked = int(np.isin(np.asarray(test), seen).sum()), len(test)
    facts = {
        "loader": loader.NAME,
        "versions": {name: importlib.metadata.version(name) for name in loader.PACKAGES},
        "rate": float(np.median(rates)),
        "leaked": leaked,
        "how": loader.HOW,
    }
    np.savez(sys.argv[2], facts=json.dumps(facts), **made)
