"""A stage on records for runs of several processes; worker processes import this file."""

import numpy as np

import feedrace


@feedrace.record
def noisy(record, rng):
    return {**record, "image": record["image"] + rng.random((3, 2), np.float32)}
