"""Sources and stages for attacks on workers; worker processes import this file."""

import os
import pickle
import signal
import sys

import numpy as np

import feedrace
from feedrace.host.stages import LeafSpec


class OddError(Exception):
    """An error that takes two values, which a pickle of it does not give back."""

    def __init__(self, number, why):
        super().__init__(f"{number} {why}")


def spec_of(kind):
    spec = {"i": LeafSpec((), np.dtype(np.int32)), "x": LeafSpec((3,), np.dtype(np.float32))}
    if kind == "text":
        spec |= {"text": LeafSpec((), np.dtype(object)), "deep": {"b": spec["x"], "c": [spec["i"]]}}
    if kind == "ragged":
        spec["tokens"] = LeafSpec((None,), np.dtype(np.int32))
    return spec


def records_of(kind, indices):
    i = np.asarray(indices, np.int32)
    records = {"i": i, "x": np.stack([i, i * 2, -i], -1).astype(np.float32)}
    if kind == "text":
        text = np.array(["é" * (n % 4) + str(n) for n in i.tolist()], object)
        records |= {"text": text, "deep": {"b": records["x"] + 1, "c": [i * 3]}}
    if kind == "ragged":
        tokens = np.empty(len(i), object)
        for row, n in enumerate(i.tolist()):
            tokens[row] = np.full(n % 6 + 1, n, np.int32)
        records["tokens"] = tokens
    return records


class Reader:
    def __init__(self, kind):
        self.kind = kind

    def fetch(self, indices):
        return records_of(self.kind, indices)


class HoleReader(Reader):
    """Leaves out some records, whole windows of them too, and notes them."""

    met = ()

    def invalid_rows(self, indices):
        return (indices % 5 == 2) | (indices // 8 % 3 == 1)

    def fetch(self, indices):
        self.met = [*self.met, *indices[self.invalid_rows(indices)].tolist()]
        return super().fetch(indices)

    def noted(self):
        met, self.met = list(self.met), []
        return met


class Serial:
    """A source without a reader; it raises at the records that fail."""

    def __init__(self, kind, records):
        self.kind, self.records = kind, records

    def __len__(self):
        return self.records

    def element_spec(self):
        return spec_of(self.kind)

    def fetch(self, indices):
        return records_of(self.kind, indices)


class Read(Serial):
    def reader(self):
        return Reader(self.kind)


class Holed(Serial):
    """Its reader leaves out records; what it notes comes here."""

    def __init__(self, kind, records):
        super().__init__(kind, records)
        self.notes = []

    def reader(self):
        return HoleReader(self.kind)

    def note(self, noted):
        self.notes += noted


class Breaks:
    """A scheduler whose plan fails at a later step."""

    def __init__(self, at):
        self.at = at

    def steps(self, state, plans):
        from feedrace.plan.single import SingleScheduler  # workers import this file, and no jax

        for number, step in enumerate(SingleScheduler().steps(state, plans)):
            if number and step.update > self.at:
                raise ValueError(f"no plan beyond {self.at}")
            yield step


@feedrace.record(spec={"r": LeafSpec((2,), np.dtype(np.float32))})
def drawn(record, rng):
    return {**record, "r": rng.random(2, np.float32)}


@feedrace.record
def jittered(record, rng):
    return {**record, "x": record["x"] + rng.integers(0, 9, 3).astype(np.float32)}


@feedrace.record(spec={"large": LeafSpec((None,), np.dtype(np.float64))})
def lengthened(record, rng):
    """The length is drawn; it goes far beyond the memory that the ring has at first."""
    return {**record, "large": np.full(rng.integers(0, 3000), record["i"], np.float64)}


@feedrace.record(spec={"size": LeafSpec((), np.dtype(np.int32)), "large": None})
def summed(record):
    size = np.int32(record["large"].sum() % 2**31)
    return {**{k: v for k, v in record.items() if k != "large"}, "size": size}


@feedrace.record(spec=lambda spec: {"tokens": spec["tokens"]})
def only_tokens(record):
    return {"tokens": record["tokens"]}


@feedrace.record(spec={"words": LeafSpec((), np.dtype(object))})
def worded(record):
    return {**record, "words": b"\0w" * int(record["i"] % 5)}


class Fails:
    """Raises at one record."""

    on = "record"

    def __init__(self, at, error):
        self.at, self.error = at, error

    def __call__(self, record):
        if record["i"] == self.at:
            errors = {
                "value": ValueError(f"fails at {self.at}"),
                "odd": OddError(self.at, "fails"),
                "key": KeyError(self.at),
                "stop": StopIteration(self.at),
                "exit": SystemExit(self.at),
            }
            raise errors[self.error]
        return record


class Adds:
    """A stage on whole batches, on the host or on the device."""

    def __init__(self, on):
        self.on = on

    def __call__(self, batch):
        return {**batch, "x": batch["x"] * 2 + 1}


class Texts:
    """Adds a text to each record; one of them ends its worker, once, as `_die` does."""

    on = "record"

    def __init__(self, at, path, how):
        self.at, self.path, self.how = at, path, how

    def spec(self, spec):
        return {**spec, "sent": LeafSpec((), np.dtype(object))}

    def __call__(self, record):
        text = "t" * 20_000
        if record["i"] == self.at and "FEEDRACE_WORKER" in os.environ and once(self.path):
            if self.how == "pickled":
                text = _Deadly()
            else:
                _die(self.how)
        return {**record, "sent": text}


class _Deadly:
    """Ends its process while it is pickled for a reply, after other large texts."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def _die(written):
    """End the worker after it has written the first bytes of a reply."""
    frame = sys._getframe()
    while "sink" not in frame.f_locals:
        frame = frame.f_back
    text = pickle.dumps((({}, None, ()), [], None, "x" * 200_000), protocol=5)
    frame.f_locals["sink"].write((len(text).to_bytes(8, "little") + text)[:written])
    frame.f_locals["sink"].flush()
    os.kill(os.getpid(), signal.SIGKILL)


def once(path):
    """Return whether nobody, in any process, called this for `path` before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
