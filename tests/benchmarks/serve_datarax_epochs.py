"""Iterate a tenth of a shuffled epoch with datarax, once for each line received."""

import sys

import numpy as np

RECORDS, BATCH, SHARE = 50_000, 128, 10

if __name__ == "__main__":
    import jax
    from datarax.pipeline import Pipeline
    from datarax.sources import MemorySource, MemorySourceConfig
    from flax import nnx

    generator = np.random.default_rng(0)
    data = {
        "image": generator.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8),
        "label": generator.integers(0, 10, RECORDS, dtype=np.int32),
    }
    source = MemorySource(MemorySourceConfig(shuffle=True), data, rngs=nnx.Rngs(0, shuffle=1))
    print("ready", flush=True)
    for _ in sys.stdin:
        pipeline = Pipeline(source=source, stages=[], batch_size=BATCH, rngs=nnx.Rngs(0))
        for number, batch in enumerate(pipeline):  # noqa: B007 (the last one is waited for)
            if number == RECORDS // BATCH // SHARE:
                break
        jax.block_until_ready(batch)
        print("done", flush=True)
