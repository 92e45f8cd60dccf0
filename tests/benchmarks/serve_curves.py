"""Points of a peer for `curves.py`, which runs this with the Python of the peer's environment.

usage: serve_curves.py PEER ROW [--quick]
"""

import importlib.metadata
import itertools
import sys
import time

from measure import QUICK, point, ran_with

BATCH = 128
SIZES = (*(10**k for k in range(3, 10)), 10**12)
RECORDS = 50_000 if QUICK else 200_000  # of the row `resume`
PLACES = 5  # of an epoch of it, the start included


def sizes_to(largest):
    return [n for n in SIZES if n <= largest]


def quickest(function):
    """Return the seconds of the fastest of some calls; what other programs do only adds to it."""
    function()
    best, began = float("inf"), time.perf_counter()
    for _ in range(3 if QUICK else 9):
        start = time.perf_counter()
        function()
        ended = time.perf_counter()
        best = min(best, ended - start)
        if ended - began > 2:
            break
    return best


def number_costs(contender, bulk, largest, most=10**6):
    """Print what a record's number costs if `bulk(n, count)` makes `count` of n."""
    for n in sizes_to(largest):
        count = min(n, most)
        seconds = quickest(lambda n=n, c=count: bulk(n, c))
        point("index cost", contender, 1e9 * seconds / count, "ns a record", n, "records")


def first_batches(contender, begin, largest):
    """Print how long `begin(n)` takes, which returns the first batch of an epoch of n."""
    for n in sizes_to(largest):
        seconds = quickest(lambda n=n: begin(n))
        point("first batch", contender, 1e3 * seconds, "ms", n, "records")


def resumed(contender, first_after):
    """Print how long `first_after(batches)` takes, which returns the batch after so many."""
    for k in range(PLACES):
        batches = min(k * RECORDS // (PLACES - 1), RECORDS - BATCH) // BATCH
        seconds = quickest(lambda b=batches: first_after(b))
        point("resume", contender, 1e3 * seconds, "ms", batches * BATCH, "records served")


def rows():
    """Return the records of the row `resume`."""
    import numpy as np

    return np.zeros((RECORDS, 8), np.float32)


class OneByOne:
    """The same records by number."""

    def __init__(self):
        self._rows = rows()

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, i):
        return self._rows[i]


def torch_sizes():
    import torch
    from torch.utils.data import BatchSampler, RandomSampler

    number_costs("torch randperm", lambda n, count: torch.randperm(n), 10**6 if QUICK else 10**8,
                 most=10**9)  # fmt: skip
    first_batches(
        "torch RandomSampler",
        lambda n: next(iter(BatchSampler(RandomSampler(range(n)), BATCH, drop_last=False))),
        10**5 if QUICK else 10**7,  # it makes a list
    )


def torch_resume():
    import torch.utils.data

    data = torch.utils.data.TensorDataset(torch.from_numpy(rows()))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)
    resumed("torch DataLoader, replays", lambda b: next(itertools.islice(loader, b, None)))


def grain_sizes():
    import grain

    shuffle = grain.experimental.index_shuffle

    def bulk(n, count):
        for i in range(count):
            shuffle(i, max_index=n - 1, seed=1, rounds=4)

    number_costs("grain index_shuffle", bulk, 10**9, most=1000)

    def begin(n):
        return next(iter(grain.MapDataset.range(n).shuffle(seed=1).batch(BATCH)))

    first_batches("grain MapDataset", begin, 10**9)


def grain_resume():
    import grain

    made = grain.MapDataset.source(OneByOne()).shuffle(seed=0).batch(BATCH)
    dataset = made.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=16))
    start = iter(dataset).get_state()

    def first_after(batches):
        iterator = iter(dataset)
        iterator.set_state({**start, "next_index": batches})
        return next(iterator)

    resumed("grain, by its state", first_after)


def tensorflow_resume():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(rows()).shuffle(10_000, seed=0)
    batches = data.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    resumed("tf.data, skip", lambda b: next(batches.skip(b).as_numpy_iterator()))


if __name__ == "__main__":
    ran_with(sys.argv[1], {sys.argv[1]: importlib.metadata.version(sys.argv[1])})
    globals()[f"{sys.argv[1]}_{sys.argv[2]}"]()
