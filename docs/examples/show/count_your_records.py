"""Which records come in a shuffled epoch, and how many a second, from each loader."""

import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import report
import style

LOADERS = {"feedrace": None, "torch": "torch", "tensorflow": "tensorflow", "grain": "grain",
           "datarax": "datarax"}  # fmt: skip
RECORDS, QUICK = 65_537, 4_097
SIDE = 32
LOADER_FOLDER = Path(__file__).with_name("loaders")


def patches(count):
    """Return `count` patches of 32 x 32 pixels from scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    generator = np.random.default_rng(0)
    cut = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        y, x = (generator.integers(0, size - SIDE) for size in photograph.shape[:2])
        cut[i] = photograph[y : y + SIDE, x : x + SIDE]
    return {"image": cut, "id": np.arange(count, dtype=np.int32)}


def run(*, quick, peers, page):
    began, count = report.begin(), QUICK if quick else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, **patches(count))

        def served(name, python):
            out = data.with_name(f"{name}.npz")
            report.ran(python, LOADER_FOLDER / f"{name}_loader.py", data, out)
            return counted(dict(np.load(out)), count)

        rows = list(report.each(LOADERS, peers, sys.executable, served).values())
    text = "\n".join(table(rows, count))
    print(f"\n{text}")
    if page is not None:
        report.publish(page, __file__, rows, began, draw, count=f"{count:,}", table=text)


def counted(made, count):
    """Return a row: what the loader says of itself, and what was counted."""
    facts = json.loads(str(made.pop("facts")))
    first = made["seed 0 epoch 0"]
    times = np.bincount(first, minlength=count)
    epochs = {tuple(map(int, name.split()[1::2])): ids for name, ids in made.items() if len(ids)}
    shared = [
        (one, other)
        for one, other in itertools.combinations(epochs, 2)
        if one[0] != other[0] and np.array_equal(epochs[one], epochs[other])
    ]
    return {
        **facts,
        "served": len(first),
        "unique": int(np.count_nonzero(times)),
        "lost": int(np.count_nonzero(times == 0)),
        "again": int(np.maximum(times - 1, 0).sum()),
        "shared": shared,
        "later": all((seed, 1) in epochs for seed, _ in epochs),
    }


def table(rows, count):
    """Yield the lines of the table; what Feedrace loses comes first."""
    ours = next(row for row in rows if row["loader"] == "Feedrace")
    faster = [row for row in rows if row["rate"] > ours["rate"]]
    if faster:
        names = ", ".join(f"{row['loader']} {row['rate'] / ours['rate']:.1f}x" for row in faster)
        yield f"Faster than Feedrace here: {names}."
        yield ""
    else:
        yield "No loader was faster than Feedrace here."
        yield ""
    heads = [
        "loader", f"unique ids of {count:,}", "lost", "came again",
        "epochs shared by seeds 0, 1, 2", "held-out records seen in 5 epochs", "records/s",
    ]  # fmt: skip
    yield from report.table(heads, map(_cells, rows))


def _cells(row):
    shared = "; ".join(f"{_epoch(one)} = {_epoch(other)}" for one, other in row["shared"])
    leaked = "-"
    if row["leaked"] is not None:
        seen, held = row["leaked"]
        leaked = f"{seen:,} of {held:,}"
    return [
        row["loader"],
        f"{row['unique']:,}",
        f"{row['lost']:,}",
        f"{row['again']:,}",
        shared or ("none" if row["later"] else "none (a second epoch is empty)"),
        leaked,
        f"{row['rate']:,.0f}",
    ]


def _epoch(place):
    return f"seed {place[0]} epoch {place[1]}"


def draw(rows, path):
    """Draw the three counts as bars."""
    names = [row["loader"] for row in rows]
    leaks = [100 * row["leaked"][0] / row["leaked"][1] if row["leaked"] else 0 for row in rows]
    lost, rates = [row["lost"] for row in rows], [row["rate"] / 1e3 for row in rows]
    panels = [
        ("records lost in an epoch", lost, "{:,.0f}", style.FAULT),
        ("held-out records seen in training", leaks, "{:.3g} %", style.FAULT),
        ("thousand records/s", rates, "{:,.0f}", style.GREY),
    ]
    figure, axes = report.pyplot().subplots(1, 3, figsize=(9, 2.7), layout="constrained")
    for axis, (title, values, form, others) in zip(axes, panels, strict=True):
        labels = [
            "no split" if "held-out" in title and row["leaked"] is None else form.format(value)
            for row, value in zip(rows, values, strict=True)
        ]
        report.draw_bars(axis, title, names, values, labels, others=others, size=11)
        axis.tick_params(left=False, labelleft=axis is axes[0])
    report.save(figure, path)
