"""What every feeder's program does: feed an emulated accelerator, as often as it is asked to.

usage: python FEEDER.py FOLDER CORES KIND, with the Python of an environment that has the loader.

A feeder's module defines `batches(folder, cores, kind)`, an endless iterator over the photographs'
numbers, one array a batch, in shuffled epochs; a number comes when its batch is there. A line of
JSON on standard input asks for a run, and a line on standard output answers it. The iterator lives
on between runs, in which its buffers fill; a run first takes epochs that are not measured.
"""

import importlib.metadata
import itertools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

BATCH, SIDE = 64, 224
DRAIN = 0.6  # seconds: what was made between runs comes at once


def paths_of(folder):
    """Return the photographs of a folder; the place in the list is a photograph's number."""
    return sorted(str(path) for path in Path(folder).glob("*.jpg"))


def run(batches, count, rate, epochs):
    """Feed `epochs` epochs of `count` photographs to a step; return what was seen, as a dict.

    rate: photographs/s of the emulated step, which computes nothing: it takes a batch and sleeps
        until it would be done with it. None for a step that takes no time.

    `utilization` is the time that the step sleeps, as planned, by the time that passes; `rate` is
    photographs/s; `own` the processor time of this process for a photograph, in seconds, without
    its child processes; `unique` the least number of photographs that an epoch had.
    """
    began, computed, planned, unique = time.perf_counter(), time.process_time(), 0.0, count
    for _ in range(epochs):
        numbers = []
        for one in itertools.islice(batches, count // BATCH):
            numbers.append(one)
            if rate is not None:
                planned += len(one) / rate
                _sleep_until(time.perf_counter() + len(one) / rate)
        unique = min(unique, len(np.unique(np.concatenate(numbers))))
    passed, served = time.perf_counter() - began, count * epochs
    return {
        "utilization": planned / passed,
        "rate": served / passed,
        "own": (time.process_time() - computed) / served,
        "unique": unique,
    }


def drain(batches, count):
    """Take whole epochs, as fast as they come, until batches come at the pace of the loader."""
    began = time.perf_counter()
    while time.perf_counter() - began < DRAIN:
        run(batches, count, None, 1)


def _sleep_until(moment):
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(left)


def main(feeder):
    folder, cores, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    count = len(paths_of(folder))
    batches = feeder.batches(folder, cores, kind)

    def answer(what):
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    drain(batches, count)
    answer(
        {
            "versions": {name: importlib.metadata.version(name) for name in feeder.PACKAGES},
            "how": feeder.HOW[kind],
        }
    )
    for line in sys.stdin:
        asked = json.loads(line)
        drain(batches, count)
        answer(run(batches, count, **asked))
    batches.close()
