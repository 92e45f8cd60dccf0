"""Batchers: stacking, packing and bucketing speed, padding, and compilations of a step.

usage: batchers.py [--datarax PYTHON], the Python of an environment that has datarax.
"""

import argparse
import importlib
from pathlib import Path

import jax
import numpy as np
from measure import QUICK, Served, alternate, quick_option, report
from serve_datarax_batches import IN_A_ROW, images

from feedrace_batchers import (
    BucketBatcher,
    BucketBatcherConfig,
    DefaultBatcher,
    DefaultBatcherConfig,
    PackBatcher,
    PackBatcherConfig,
    choose_boundaries,
)

ROW, BATCH = 2048, 8


def drain(batches):
    for _ in batches:
        pass


def default(datarax):
    elements, batcher = images(), DefaultBatcher(DefaultBatcherConfig())
    arrays = [element["image"] for element in elements]

    def repeated(function):
        def run():
            for _ in range(IN_A_ROW):
                function()

        return run

    feedrace = repeated(lambda: drain(batcher.process(elements, batch_size=128)))

    def against(name, peer, target):
        seconds = alternate({"feedrace": feedrace, name: peer}, rounds=21)
        us = {key: s / IN_A_ROW * 1e6 for key, s in seconds.items()}
        detail = f"{us['feedrace']:.0f} us a batch against {us[name]:.0f}"
        report(f"default against {name}", us[name] / us["feedrace"], target, detail)

    against("np.stack", repeated(lambda: np.stack(arrays)), "0.8")
    with Served(datarax, Path(__file__).with_name("serve_datarax_batches.py"), "datarax") as ask:
        if ask:
            against("datarax", ask, "5")


def sequences(count=20_000):
    count, generator = count // 4 if QUICK else count, np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(5.5, 1, count), 1, ROW).astype(int)
    return [{"tokens": generator.integers(1, 30_000, n, dtype=np.int32)} for n in lengths]


def grain_rows(grain, kind, elements, bins):
    dataset = grain.MapDataset.source(elements).to_iter_dataset(
        grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    )
    return getattr(grain.experimental, f"{kind}PackIterDataset")(
        dataset, length_struct={"tokens": ROW}, num_packing_bins=bins, shuffle_bins=False
    )


def pack():
    elements = sequences()
    tokens = sum(len(element["tokens"]) for element in elements)
    made = {}
    for kind in ("first-fit", "best-fit"):
        made[kind] = PackBatcher(PackBatcherConfig(fields={"tokens": ROW}, algorithm=kind))
        drain(made[kind].process(elements, batch_size=BATCH))
    try:
        grain = importlib.import_module("grain")
    except ImportError:
        print("(grain is not installed and not measured)")
        for kind, batcher in made.items():
            print(f"pack, {kind}: {batcher.fill:.2%} of all positions filled")
        return
    functions = {
        f"feedrace {kind}": lambda b=made[kind]: drain(b.process(elements, batch_size=BATCH))
        for kind in ("first-fit", "best-fit")
    }
    functions["grain"] = lambda: drain(grain_rows(grain, "FirstFit", elements, 64))
    seconds = alternate(functions, rounds=5)
    rates = {name: tokens / s / 1e6 for name, s in seconds.items()}
    for kind in ("first-fit", "best-fit"):
        ours = rates[f"feedrace {kind}"]
        detail = f"{ours:.1f} against {rates['grain']:.1f} million tokens/s"
        report(f"pack, {kind}, against grain's first-fit", ours / rates["grain"], "2", detail)
    # grain may hold as many rows as one of our windows makes.
    held = round(made["best-fit"].window_size(BATCH) * tokens / len(elements) / ROW)
    for bins in (BATCH, 64, held):
        rows = sum(1 for _ in grain_rows(grain, "BestFit", elements, bins))
        padding, theirs = 1 - made["best-fit"].fill, 1 - tokens / rows / ROW
        detail = f"{padding:.2%} padding against {theirs:.2%}, rows of padding included"
        name = f"pack, best-fit, against grain's best-fit of {bins} rows"
        report(name, padding / theirs, "at most 1", detail)


def pack_fields():
    """One field; two fields of equal lengths, like inputs and targets; two of different lengths."""
    generator = np.random.default_rng(0)
    tokens = [element["tokens"] for element in sequences(40_000)]
    others = [t[: generator.integers(len(t) // 2, len(t) + 1)] for t in tokens]
    others = [np.tile(t, 2)[:ROW] if i % 2 else t for i, t in enumerate(others)]
    kinds = {
        "one field": [{"inputs": t} for t in tokens],
        "equal fields": [{"inputs": t, "targets": t} for t in tokens],
        "fields of different lengths": [
            {"inputs": t, "targets": o} for t, o in zip(tokens, others, strict=True)
        ],
    }
    for kind in ("best-fit", "first-fit"):
        for size in (BATCH, 128):
            functions = {}
            for name, elements in kinds.items():
                config = PackBatcherConfig(fields=dict.fromkeys(elements[0], ROW), algorithm=kind)
                functions[name] = lambda c=config, e=elements, n=size: drain(
                    PackBatcher(c).process(e, batch_size=n)
                )
            seconds = alternate(functions, rounds=1)
            alone = seconds.pop("one field")
            for name, s in seconds.items():
                report(
                    f"pack, {kind}, batches of {size}, two {name} against one field",
                    s / alone,
                    "at most 2, twice the data",
                    f"{s:.2f} s for {len(tokens)} records against {alone:.2f} s",
                )


def bucket():
    elements = sequences()
    lengths = np.array([len(element["tokens"]) for element in elements])
    boundaries = choose_boundaries(lengths[:2000], 8)
    boundaries = (*boundaries[:-1], ROW)  # the sample need not hold the longest
    batcher = BucketBatcher(BucketBatcherConfig(fields=["tokens"], boundaries=boundaries))
    for batch_size in (8, 64):
        batcher.reset_operation_stats()
        step = jax.jit(lambda batch: (batch["tokens"] * batch["tokens_mask"]).sum())
        positions = 0
        for batch in batcher.process(elements, batch_size=batch_size):
            step(batch)
            positions += batch["tokens"].size
        padding = positions - lengths.sum()
        longest = len(lengths) * lengths.max() - lengths.sum()
        groups = [lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
        in_batch = sum(len(g) * g.max() for g in groups) - lengths.sum()
        detail = f"{padding / 1e6:.2f} million positions of padding"
        report(
            f"bucket, 8 shapes, batches of {batch_size}, against the longest of all",
            padding / longest,
            "at most 0.5",
            f"{detail} against {longest / 1e6:.2f}",
        )
        report(
            f"bucket, 8 shapes, batches of {batch_size}, against the longest of each as it comes",
            padding / in_batch,
            "at most 0.5",
            f"{detail} against {in_batch / 1e6:.2f} in {len({g.max() for g in groups})} shapes",
        )
        what = f"bucket, batches of {batch_size}, compilations of a step"
        print(f"{what}: {step._cache_size()} (at most 8)")


def compilations():
    step = jax.jit(lambda batch: (batch["image"] * batch["valid_mask"][:, None, None, None]).sum())
    for batch in DefaultBatcher(DefaultBatcherConfig()).process(images(), batch_size=48):
        step(batch)
    print(f"default, compilations of a step, last batch short: {step._cache_size()} (at most 1)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    quick_option(parser)
    parser.add_argument("--datarax", help="the Python of an environment that has datarax")
    default(parser.parse_args().datarax)
    pack()
    pack_fields()
    bucket()
    compilations()
