"""A source and stages for the attack on workers; worker processes import this file."""

from types import SimpleNamespace

import numpy as np

import feedrace


class Reader:
    """Gives `i`, the record's number, and `x`, as many numbers as it has."""

    def fetch(self, indices):
        rows = [np.arange(i % 9 + 1, dtype=np.float32) + i for i in indices]
        x = np.fromiter(rows, object, len(rows))
        return {"i": np.asarray(indices, np.int32), "x": x}


class Source(Reader):
    def __init__(self, records):
        self.records = records

    def __len__(self):
        return self.records

    def element_spec(self):
        return {
            "i": SimpleNamespace(shape=(), dtype=np.dtype(np.int32)),
            "x": SimpleNamespace(shape=(None,), dtype=np.dtype(np.float32)),
        }

    def reader(self):
        return Reader()


def fixed(spec):
    return {**spec, "x": SimpleNamespace(shape=(4,), dtype=np.dtype(np.float32))}


@feedrace.record(spec=fixed)
def padded(record):
    return {**record, "x": np.resize(record["x"], 4)}


@feedrace.record(spec=fixed)
def drawn(record, rng):
    return {**record, "x": np.resize(record["x"], 4) + rng.random(4, np.float32)}
