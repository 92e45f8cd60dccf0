"""The pictures of the benchmarks, which are readable on a light and on a dark background."""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples" / "show"))

from style import GREY, INK, OTHERS, OURS, STYLE


class Lines(NamedTuple):
    """A picture of lines. log: the axes on a logarithmic scale."""

    title: str
    words: str
    log: str = ""


class Bars(NamedTuple):
    """A picture of rates. ours: how the names of our contenders begin."""

    title: str
    words: str
    ours: tuple[str, ...]


RATES = {
    "loaders": Bars(
        "Rate: records of 32 x 32 pixels in memory",
        "A shuffled epoch in batches of 128, each loader in a process of its own without workers, "
        "one after another (`loaders`).",
        ("Feedrace",),
    ),
    "photographs": Bars(
        "Rate: photographs",
        "JPEGs of 200 to 700 pixels a side, cropped at random and resized to 224 pixels; what each "
        "contender does is in `host_peers.py` (`host`).",
        ("fused", "same calls"),
    ),
}
CHARTS = {
    "index cost": Lines(
        "Cost of a record's number against size",
        "In bulk, up to a million numbers a call. A permutation is made as a whole; ours and "
        "grain's are computed number by number. From 2^31 records on ours takes 64-bit words, in "
        "numpy (`curves`).",
        "xy",
    ),
    "first batch": Lines(
        "Time to the first batch against size",
        "From nothing to the record numbers of the first 128; and for ours to a batch on the "
        "device, too (`curves`).",
        "xy",
    ),
    "memory": Lines(
        "Memory against size",
        "The most that a process holds which takes a thousand batches of record numbers from the "
        "middle of an epoch, with Python and numpy, which alone are the dashed line (`curves`).",
        "xy",
    ),
    "resume": Lines(
        "Time to resume against position",
        "From a state to the first batch, at places of an epoch of small records in memory. "
        "A loader without a state replays, or skips, what was served (`curves`).",
        "y",
    ),
    "workers": Lines(
        "Scaling with workers",
        "Photographs, and a stage that computes for 1 ms in Python, which holds its lock: threads "
        "cannot share that. The number of cores is in the last table; more workers than cores do "
        "not help work that only computes (`curves`).",
    ),
}


def draw(results: dict[str, dict], folder: Path) -> dict[str, tuple[str, str]]:
    """Write the pictures that there are figures for; return title and words by file name."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    made = {}
    rates, charts = (
        {name: one for result in results.values() for name, one in result.get(kind, {}).items()}
        for kind in ("rates", "charts")
    )
    with matplotlib.rc_context(STYLE):
        for kinds, found, drawn in ((RATES, rates, _bars), (CHARTS, charts, _lines)):
            for name, about in kinds.items():
                if name in found:
                    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
                    drawn(axes, found[name], about)
                    file = f"{name.replace(' ', '-')}.svg"
                    figure.savefig(folder / file, metadata={"Date": None})
                    pyplot.close(figure)
                    made[file] = (about.title, about.words)
    return made


def _bars(axes, rates, about):
    ranked = sorted(rates.items(), key=lambda pair: pair[1])
    ours = [name.startswith(about.ours) for name, _ in ranked]
    names = [
        name if not mine or name.startswith("Feedrace") else f"Feedrace, {name}"
        for (name, _), mine in zip(ranked, ours, strict=True)
    ]
    values = [rate for _, rate in ranked]
    bars = axes.barh(names, values, color=[OURS[0] if mine else GREY for mine in ours])
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, color=INK)
    axes.set_xlim(0, 1.15 * max(values))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("records/s")


def _lines(axes, chart, about):
    others, mine, colours = iter(OTHERS), iter(OURS), {}
    marks = iter("osD^vPX*")
    for contender, points in chart["lines"].items():
        work, _, kind = contender.rpartition(", ")  # work by threads has the colour of processes
        name = work if kind in ("processes", "threads") else contender
        bare = contender.startswith("bare")
        if name not in colours:
            ours = contender.startswith("Feedrace")
            colours[name] = INK if bare else next(mine if ours else others)
        axes.plot(
            *zip(*points, strict=True),
            marker="" if bare else next(marks),
            markersize=4,
            label=contender,
            color=colours[name],
            linestyle="--" if bare or kind == "threads" else "-",
        )
    for axis, log in ((axes.set_xscale, "x"), (axes.set_yscale, "y")):
        if log in about.log:
            axis("log")
    if "y" not in about.log:
        axes.set_ylim(0)
    if "x" not in about.log:
        ticks = sorted({at for points in chart["lines"].values() for at, _ in points})
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(chart["of"])
    axes.set_ylabel(chart["unit"])
    axes.grid(which="major")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
