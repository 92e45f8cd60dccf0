"""A source and stages that tests of conversions register; worker processes import this file."""

import os
import time

import attrs
import numpy as np

import feedrace
from feedrace.plugin import LeafSpec, StructuralConfig

COUNT = 60
SPEC = {
    "id": LeafSpec((), np.int32),  # what arrives; the reader gives int64
    "pair": {"x": LeafSpec((2, 3), np.float32), "name": LeafSpec((), object)},
    "tokens": LeafSpec((None,), np.int32),
    "raw": LeafSpec((), object),
}


def expected(number):
    return {
        "id": np.int64(2**40 + number),
        "pair.x": np.arange(6, dtype=np.float32).reshape(2, 3) + number,
        "pair.name": f"é{number}",
        "tokens": np.arange(number % 5, dtype=np.int32),
        "raw": bytes([number]) * 3,
    }


@attrs.frozen(kw_only=True)
class MadeConfig(StructuralConfig):
    bad: tuple[int, ...] = attrs.field(default=(), converter=tuple)


class Reader:
    def __init__(self, bad):
        self.bad = bad

    def fetch(self, indices):
        rows = [expected(number) for number in indices.tolist()]
        tokens = np.empty(len(rows), object)
        tokens[:] = [row["tokens"] for row in rows]
        return {
            "id": np.array([row["id"] for row in rows]),
            "pair": {
                "x": np.array([row["pair.x"] for row in rows]),
                "name": np.array([row["pair.name"] for row in rows], object),
            },
            "tokens": tokens,
            "raw": np.array([row["raw"] for row in rows], object),
        }

    def invalid_rows(self, indices):
        return np.isin(indices, self.bad)

    def noted(self):
        return []


class Made:
    """Records of many kinds of fields, nested; some of them cannot be read."""

    def __init__(self, config):
        self.config = config

    def __len__(self):
        return COUNT

    def element_spec(self):
        return SPEC

    def fetch(self, indices):
        return Reader(self.config.bad).fetch(indices)

    def invalid_rows(self, indices):
        return np.isin(indices, self.config.bad)

    def reader(self):
        return Reader(self.config.bad)


@attrs.frozen(kw_only=True)
class WaitConfig:
    folder: str
    at: int = 30


class Wait:
    """Waits at one record until there is a file `go`; it changes nothing."""

    on = "record"

    def __init__(self, config):
        self.config = config

    def __call__(self, record):
        if record["id"] - 2**40 == self.config.at:
            while not os.path.exists(os.path.join(self.config.folder, "go")):
                time.sleep(0.01)
        return record


@attrs.frozen(kw_only=True)
class OddConfig:
    value: str = "lambda"


class Odd:
    """Puts something in place of `raw` that no file holds, or that differs between records."""

    on = "record"

    def __init__(self, config):
        self.config = config

    def __call__(self, record):
        number = int(record["id"] - 2**40)
        if self.config.value == "none" and number != 57:
            return record
        return {**record, "raw": "text" if self.config.value == "none" else number}


def register():
    feedrace.register("source", "made", Made, config=MadeConfig)
    feedrace.register("stage", "wait", Wait, config=WaitConfig)
    feedrace.register("stage", "odd", Odd, config=OddConfig)
