"""datarax: a `MemorySource` that shuffles, in a `Pipeline`; its epochs are passes over it."""

import sys

import common
from datarax.pipeline import Pipeline
from datarax.sources import MemorySource, MemorySourceConfig
from flax import nnx

NAME = "datarax"
PACKAGES = ("datarax", "jax")
HOW = "MemorySource(shuffle=True); no split of its own"
TIMED = 1


def epochs(data, seed, count):
    rngs = nnx.Rngs(seed, shuffle=seed)
    source = MemorySource(MemorySourceConfig(shuffle=True), data, rngs=rngs)
    pipeline = Pipeline(source=source, stages=[], batch_size=common.BATCH, rngs=nnx.Rngs(seed))
    for _ in range(count):
        yield pipeline


def timed(data, seed, count):
    """Yield epochs to time, each of a new pipeline: a second pass over one is empty."""
    for _ in range(count):
        yield from epochs(data, seed, 1)


if __name__ == "__main__":
    common.main(sys.modules["__main__"])
