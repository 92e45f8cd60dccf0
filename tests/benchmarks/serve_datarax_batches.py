"""Batch images with datarax, once for each line received; runs in its own environment."""

import sys

import numpy as np

IN_A_ROW = 50  # a single batch would mostly measure the messages between the processes


def images():
    generator = np.random.default_rng(0)
    return [{"image": generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)} for _ in range(128)]


if __name__ == "__main__":
    import jax
    from datarax.batching.default_batcher import DefaultBatcher, DefaultBatcherConfig

    batcher, elements = DefaultBatcher(DefaultBatcherConfig()), images()
    print("ready", flush=True)
    for _ in sys.stdin:
        for _ in range(IN_A_ROW):
            jax.block_until_ready(list(batcher(iter(elements), batch_size=128)))
        print("done", flush=True)
