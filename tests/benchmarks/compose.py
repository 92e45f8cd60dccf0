"""Mixtures: indices in bulk, for few and for many components, after a seek, and their state.

Filters: a predicate asked in one process and in two, what is kept of it, and how numbers are found.
Then rows of a stream of tokens, by `compose_tokens.py`, and of caches, by `compose_cache.py`, which
makes photographs on first use (this needs TFDS).
"""

import json
import os
import tempfile
import time
from pathlib import Path

import compose_cache
import compose_tokens
import numpy as np
from measure import QUICK, alternate, figure, report
from predicates import Thinks

import feedrace
from feedrace.plugin import JobRun, jobs_run
from feedrace_compose.table import RecordNumbers

DRAWS = 1 << 21
RECORDS = 1_000_000


def weights_of(components):
    return [1 + i % 7 for i in range(components)]


def mixture(components, **fields):
    return feedrace.create(
        "sampler", "mixture", sizes=sizes_of(components), weights=weights_of(components), **fields
    )


def sizes_of(components):
    return [3_000_000 // components + 17 * i for i in range(components)]


def numpy_mixture(components):
    """Draw components at random, and take each draw's record from its component's permutation."""
    generator = np.random.default_rng(0)
    sizes = np.array(sizes_of(components))
    starts = np.cumsum(sizes) - sizes
    permutations = np.concatenate(
        [s + generator.permutation(n) for s, n in zip(starts, sizes, strict=True)]
    )
    shares = np.array(weights_of(components)) / sum(weights_of(components))
    positions = np.arange(DRAWS)

    def draw():
        chosen = generator.choice(components, DRAWS, p=shares)
        # The number of a draw stands for how often its component came, which would have to be
        # counted; so this serves no component evenly.
        return permutations[starts[chosen] + positions % sizes[chosen]]

    return draw


def bulk():
    rates = {}
    for components in (3, 1000):
        sampler = mixture(components)
        seconds = alternate(
            {"feedrace": lambda s=sampler: s.indices(0, DRAWS), "numpy": numpy_mixture(components)},
            rounds=9,
        )
        rates[components] = {name: DRAWS / s / 1e6 for name, s in seconds.items()}
        detail = "{feedrace:.0f} against {numpy:.0f} million/s".format(**rates[components])
        ratio = seconds["numpy"] / seconds["feedrace"]
        report(f"mixture of {components:,} against numpy's choice and a gather", ratio, "2", detail)
    few, many = (rates[n]["feedrace"] for n in (3, 1000))
    detail = f"{many:.0f} against {few:.0f} million/s"
    report("a record of a mixture of 1,000 against one of 3", few / many, "at most 1.3", detail)


def seek():
    for kind in ("constant", "linear"):
        schedule = [
            {"at": 0, "weights": [0.7, 0.2, 0.1]},
            {"at": 100_000, "weights": [0.3, 0.3, 0.4]},
            {"at": 1_500_000_000, "weights": [0.1, 0.1, 0.8]},
        ]
        fields = {"sizes": [10**6] * 3, "schedule": schedule, "interpolate": kind}

        def first_batch(position, fields=fields):
            feedrace.create("sampler", "mixture", **fields).indices(position, position + 128)

        seconds = alternate(
            {"start": lambda: first_batch(0), "far": lambda: first_batch(10**9)}, rounds=21
        )
        detail = f"{seconds['far'] * 1e3:.2f} ms against {seconds['start'] * 1e3:.2f}"
        ratio = seconds["far"] / seconds["start"]
        what = f"seek to 1e9 of a mixture with a {kind} schedule, then one batch"
        report(what, ratio, "at most 2", detail)


def state():
    sampler = mixture(1000)
    sampler.sample(3)
    size = len(json.dumps(sampler.get_state()))
    figure("state of a mixture of 1,000 components", size, "bytes", "2048")


def thinks(seconds):
    """Return a predicate that takes about so long."""
    rounds = 1000
    while True:
        predicate = Thinks(rounds)
        times = []
        for _ in range(50):
            began = time.perf_counter()
            predicate({"x": np.float32(1)})
            times.append(time.perf_counter() - began)
        if sorted(times)[25] >= seconds:
            return predicate
        rounds += rounds // 20


def filters(records=RECORDS, rounds=1):
    predicate = thinks(50e-6)
    x = np.random.default_rng(0).random(records)  # half of them pass, in no order
    source = {"use": "memory", "data": {"x": x}}
    kept = {}

    def filtered(workers):
        with tempfile.TemporaryDirectory() as cache, jobs_run(JobRun(workers=workers)):
            os.environ["FEEDRACE_CACHE_DIR"] = cache
            made = feedrace.create("source", "filter", source=source, predicate=predicate)
            sizes = [file.stat().st_size for file in Path(cache).rglob("*") if file.is_file()]
            kept[len(made)] = sum(sizes)

    times = {1: [], 2: []}
    for _ in range(rounds):
        for workers, seconds in times.items():
            began = time.perf_counter()
            filtered(workers)
            seconds.append(time.perf_counter() - began)
    one, two = (sorted(seconds)[len(seconds) // 2] for seconds in times.values())
    what = f"filter of {records:,} records by a predicate of 50 us, 2 processes against 1"
    report(what, one / two, "1.8", f"{two:.1f} s against {one:.1f} s")
    ((_, size),) = kept.items()
    figure("what is kept of a filter for each record", 8 * size / records, "bits", "2")


def selections():
    generator = np.random.default_rng(0)
    for records in (RECORDS,) if QUICK else (RECORDS, 100 * RECORDS):
        passes = generator.random(records) < 0.5
        compact, plain = RecordNumbers.of([(0, passes)], records), np.flatnonzero(passes)
        for count in (256, 1_000_000):
            numbers = generator.integers(0, len(plain), count)
            seconds = alternate(
                {
                    "compact": lambda c=compact, n=numbers: c(n),
                    "plain": lambda p=plain, n=numbers: p[n],
                }
            )
            what = f"{count:,} numbers of a filter of {records:,} against a gather of int64"
            detail = "{compact:.3f} ms against {plain:.3f}".format(
                **{name: 1e3 * s for name, s in seconds.items()}
            )
            target = "at most 2" if records == RECORDS else "about what it takes"
            report(what, seconds["compact"] / seconds["plain"], target, detail)
        bits = 8 * (compact.bits.nbytes + compact.counts.nbytes) / records
        figure(f"a filter of {records:,} in memory, for each record", bits, "bits", "1.07")


if __name__ == "__main__":
    filters(RECORDS // 10 if QUICK else RECORDS)
    selections()
    bulk()
    seek()
    state()
    compose_cache.photographs()
    compose_tokens.run()
