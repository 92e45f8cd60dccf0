"""Sources and stages for tests of workers; worker processes import this file."""

import os
import signal
import time
from types import SimpleNamespace

import numpy as np

import feedrace


def leaf(shape, dtype):
    return SimpleNamespace(shape=shape, dtype=np.dtype(dtype))


class Reader:
    """Gives `x`, 4 numbers, and `i`, the record's number."""

    def fetch(self, indices):
        x = np.tile(indices[:, None], 4).astype(np.float32)
        return {"x": x, "i": indices.astype(np.int32)}


class Readable(Reader):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def element_spec(self):
        return {"x": leaf((4,), np.float32), "i": leaf((), np.int32)}

    def reader(self):
        return Reader()


class OwnReader(Readable):
    """A source that reads by itself."""

    def reader(self):
        return self


class Serial(Readable):
    """A source without a reader."""

    reader = None

    def __init__(self, length):
        super().__init__(length)
        self.fetched = []

    def fetch(self, indices):
        self.fetched.append(indices.tolist())
        return super().fetch(indices)


class HoleReader(Reader):
    """Leaves out every fifth record, and notes it."""

    def __init__(self):
        self.met = []

    def fetch(self, indices):
        self.met += [int(i) for i in indices if i % 5 == 0]
        records = super().fetch(indices)
        records["x"][indices % 5 == 0] = 0
        return records

    def invalid_rows(self, indices):
        return indices % 5 == 0

    def noted(self):
        met, self.met = self.met, []
        return met


class Holed(Readable):
    def __init__(self, length):
        super().__init__(length)
        self.notes = []

    def reader(self):
        return HoleReader()

    def note(self, noted):
        self.notes.append(noted)


@feedrace.record(spec={"r": leaf((2,), np.float32)})
def drawn(record, rng):
    return {**record, "r": rng.random(2, np.float32)}


class Scaled:
    """An object that is called as a function of a record."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, record):
        return scaled(self.factor, record)


def scaled(factor, record):
    return {**record, "x": record["x"] * factor}


@feedrace.record(spec={"words": leaf((), object), "tokens": leaf((None,), np.int32)})
def worded(record):
    number = int(record["i"])
    return {**record, "words": "w" * number, "tokens": np.arange(number % 7, dtype=np.int32)}


@feedrace.record(spec={"tokens": leaf((None,), np.int32)})
def counted(record):
    return {**record, "tokens": np.arange(int(record["i"]) % 7 + 1, dtype=np.int32)}


@feedrace.record(spec={"big": leaf((None,), np.float64), "x": None})
def enlarged(record):
    return {"i": record["i"], "big": np.full(4096, record["i"], np.float64)}


@feedrace.record
def fails_at_57(record):
    if record["i"] == 57:
        raise ValueError("a stage that fails")
    return record


class OddError(Exception):
    def __init__(self, number, why):
        super().__init__(f"{number} {why}")


@feedrace.record
def odd_at_57(record):
    if record["i"] == 57:
        raise OddError(57, "is odd")
    return record


@feedrace.record
def dies_at_57(record):
    if record["i"] == 57:
        os.kill(os.getpid(), signal.SIGKILL)
    return record


@feedrace.record(spec={"seen": leaf((3,), np.bool_)})
def imports(record):
    import sys

    found = [name in sys.modules for name in ("jax", "flax", "tensorflow")]
    return {**record, "seen": np.array(found)}


@feedrace.record(spec={"pid": leaf((), np.int32)})
def slow_with_pid(record):
    time.sleep(0.002)
    return {**record, "pid": np.int32(os.getpid())}


def without_tokens(record):
    return {name: value for name, value in record.items() if name != "tokens"}


def pause(record):
    time.sleep(0.001)
    return record


class DiesOnce:
    """Kills its process the first time that it is called anywhere."""

    on = "record"

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, record):
        if record["i"] == 31:
            try:
                os.close(os.open(os.path.join(self.folder, "done"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return record
            os.kill(os.getpid(), signal.SIGKILL)
        return record


class Shift:
    """Adds to `x`; an instance can be called, and so can its method."""

    def __init__(self, amount):
        self.amount = amount

    def __call__(self, record):
        return {**record, "x": record["x"] + np.float32(self.amount)}


def shifted(record, amount):
    return Shift(amount)(record)


@feedrace.record(spec={"o": leaf((), object)})
def with_lambda(record):
    return {**record, "o": lambda: record}


@feedrace.record
def prints(record):
    if record["i"] == 3:
        print("three was here")
    return record


@feedrace.record
def asks(record):
    if record["i"] == 0:
        input()
    return record


class ImportsMultiprocessing(Readable):
    """Its reader imports multiprocessing in the worker, before the stages are there."""

    def reader(self):
        return ReaderWithMultiprocessing()


class ReaderWithMultiprocessing(Reader):
    def __reduce__(self):
        return _with_multiprocessing, ()


def _with_multiprocessing():
    import multiprocessing

    assert multiprocessing
    return Reader()


class Squares:
    """Gives several elements at once; its `__getitem__` is never needed."""

    def __len__(self):
        return 20

    def __getitem__(self, number):
        raise AssertionError

    def __getitems__(self, numbers):
        assert type(numbers) is list
        return [{"x": number**2} for number in numbers]


class Pairs:
    """Tuples of 4 numbers and the element's number, as a map-style data set of torch gives them."""

    def __init__(self, length, hook=None):
        self.length, self.hook = length, hook

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        if not 0 <= number < self.length:
            raise IndexError(number)
        if self.hook is not None:
            self.hook(number)
        return np.full(4, number, np.float32), number


class Collect:
    """The work of a job: the records' numbers, and a digest of their values; counts its calls."""

    def __init__(self, folder, deadly=-1):
        self.folder, self.deadly = str(folder), deadly

    def __call__(self, number, records):
        name = os.path.join(self.folder, f"called-{number}")
        first = not os.path.exists(name)
        with open(name, "a") as out:
            out.write("x")
        found = [(i, {key: np.asarray(v).tolist() for key, v in one.items()}) for i, one in records]
        if number == self.deadly and first:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.deadly - 1000:
            raise ValueError("the work fails")
        return {"numbers": [i for i, _ in found], "records": [one for _, one in found]}


class Nested(Readable):
    def element_spec(self):
        return {"in": {"x": leaf((4,), np.float32)}, "i": leaf((), np.int32)}

    def reader(self):
        return NestedReader()


class NestedReader(Reader):
    def fetch(self, indices):
        found = super().fetch(indices)
        return {"in": {"x": found["x"]}, "i": found["i"]}
