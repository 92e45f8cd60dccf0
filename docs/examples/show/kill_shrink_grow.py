"""Which texts come, and come again, in a training that is killed twenty times."""

import itertools
import json
import math
import random
import shutil
import sys
import tempfile
from pathlib import Path

import killing
import report
import style
import texts

LOADERS = {"feedrace": None, "grain": "grain", "torchdata": "torchdata", "datasets": "datasets",
           "tensorflow": "tensorflow"}  # fmt: skip
PROGRAMS = Path(__file__).with_name("resuming")
EPOCHS, EVERY, KILLS, QUICK_KILLS = 2, 10, 20, 4
PROCESSES = (1, 2, 4, 1)
WORKERS = (2, {"kind": "process", "count": 1}, 0, 4, {"kind": "process", "count": 2})
SHARES = (5, 50, 95)


def run(*, quick, peers, page):
    began = report.begin()
    kills = QUICK_KILLS if quick else KILLS
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train, held_out = texts.write(folder, share=8 if quick else 1)
        given = {
            "data": str(folder / "train"), "held-out": str(folder / "held-out"),
            "records": train, "epochs": EPOCHS, "workers": 2, "every": EVERY, "pause": 0,
            "evaluate": 25 if quick else 100,
        }  # fmt: skip
        variables = {
            "FEEDRACE_CACHE_DIR": str(folder / "cache"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

        def served(name, python):
            own = {**given, "folder": str(folder / name)}
            program = PROGRAMS / f"{name}_run.py"
            if name == "feedrace":
                return trained(python, program, own, kills, held_out, **variables)
            return resumed(python, program, own, kills)

        rows = list(report.each(LOADERS, peers, sys.executable, served).values())
    text, ours = "\n".join(table(rows)), "\n".join(own_table(rows[0]))
    print(f"\n{text}\n\n{ours}")
    if page is not None:
        report.publish(
            page,
            __file__,
            rows,
            began,
            draw,
            records=f"{train:,}",
            held_out=f"{held_out:,}",
            kills=kills,
            table=text,
            ours=ours,
        )


def trained(python, program, given, kills, held_out, **variables):
    """Return the row of Feedrace: a training without a stop, and one that is killed."""
    folder = Path(given["folder"])
    folder.mkdir()
    logs, _ = killing.attempt(python, program, given, **variables)
    _, whole = killing.read(logs)
    facts = first_batches(python, program, given, **variables)
    losses = means(folder, whole)
    cut = {**given, "folder": str(folder / "killed")}
    (folder / "killed").mkdir()
    runs, sizes, inside, windows = [], [], 0, 0
    hosts, workers = itertools.cycle(PROCESSES), itertools.cycle(WORKERS)
    for until in [*places(whole, kills), None]:
        processes, cut["workers"] = next(hosts), next(workers)
        logs, ended = killing.attempt(python, program, cut, processes, until, **variables)
        begun, batches = killing.read(logs)
        if begun is None:  # it was killed before it began
            continue
        runs.append((begun["begin"], batches))
        sizes.append((processes, cut["workers"]))
        at = begun["begin"] + len(batches)
        inside += not ended and [b["stream"] for b in whole[at - 1 : at + 1]] == ["held-out"] * 2
        windows += bool(begun["place"].get("train.inside"))
    stream, again, alike = killing.lived(runs)
    train = [batch for batch in stream if batch["stream"] == "train"]
    evaluations = [
        sorted(i for batch in group for i in batch["ids"]) == list(range(held_out))
        for name, group in itertools.groupby(stream, key=lambda batch: batch["stream"])
        if name == "held-out"
    ]
    lost, repeated = killing.times(train, given["records"], given["epochs"])
    same = compared(stream, whole)
    return {
        **facts,
        **rates(whole),
        "kills": kills,
        "lost": lost,
        "repeated": repeated,
        "same": same,
        "again": (alike, again),
        "other": outcome(lost, repeated, same),
        "inside": inside,
        "windows": windows,
        "evaluations": (sum(evaluations), len(evaluations)),
        "sizes": sizes,
        "losses": [losses, means(folder / "killed", whole)],
    }


def means(folder, batches):
    """Return the mean losses of the first ten and the last ten updates, and the last evaluation."""
    lines = (line.split() for line in (folder / "losses").read_text().splitlines())
    losses = {int(line[0]): float(line[1]) for line in lines if len(line) == 2}  # the last counts
    groups = {"train": [], "held-out": []}
    for name, group in itertools.groupby(enumerate(batches, 1), key=lambda at: at[1]["stream"]):
        groups[name].append([losses[at] for at, _ in group])
    train = list(itertools.chain(*groups["train"]))
    return [sum(some) / len(some) for some in (train[:10], train[-10:], groups["held-out"][-1])]


def resumed(python, program, given, kills):
    """Return the row of a peer: served without a stop, killed, and with other workers."""
    folder = Path(given["folder"])
    folder.mkdir()
    logs, _ = killing.attempt(python, program, given)
    _, whole = killing.read(logs)
    facts = first_batches(python, program, given)
    cut = {**given, "folder": str(folder / "killed"), "pause": 0.005}
    (folder / "killed").mkdir()
    runs = []
    for until in [*places(whole, kills), None]:
        logs, _ = killing.attempt(python, program, cut, until=until)
        begun, batches = killing.read(logs)
        if begun is not None:
            runs.append((begun["begin"], batches))
    stream, _, _ = killing.lived(runs)
    lost, repeated = killing.times(stream, given["records"], given["epochs"])
    return {
        **facts,
        **rates(whole),
        "lost": lost,
        "repeated": repeated,
        "same": compared(stream, whole),
        "other": other_workers(python, program, given, whole) if facts["workers"] else "-",
    }


def other_workers(python, program, given, whole):
    """Return what comes of going on in the middle of an epoch with three workers instead of two."""
    folder = Path(given["folder"]) / "other"
    folder.mkdir()
    shutil.copy(folder.parent / "state-50", folder / "state")
    try:
        logs, _ = killing.attempt(python, program, {**given, "folder": str(folder), "workers": 3})
    except RuntimeError as error:
        return f"no: {error}"
    begun, batches = killing.read(logs)
    stream = whole[: begun["begin"]] + batches
    lost, repeated = killing.times(stream, given["records"], given["epochs"])
    return outcome(lost, repeated, compared(stream, whole))


def compared(stream, whole):
    """Return (batches as in the run that was never killed, all batches of the longer run)."""
    return killing.equal(stream, whole), max(len(stream), len(whole))


def outcome(lost, repeated, same):
    """Return "yes" if nothing was lost or repeated and all batches are the same, or the counts."""
    alike, every = same
    if (lost, repeated, alike) == (0, 0, every):
        return "yes"
    return f"{lost:,} lost, {repeated:,} repeated, {every - alike:,} batches differ"


def places(batches, kills):
    """Return at which batches to kill: a quarter of them in the first half of an evaluation."""
    chosen = random.Random(0)
    held = [batch.get("stream") == "held-out" for batch in batches]
    evaluated = []
    for is_held, group in itertools.groupby(range(len(batches)), key=lambda at: held[at]):
        group = list(group)
        if is_held:
            evaluated += group[: max(len(group) // 2, 1)]
    number = min(kills // 4, len(evaluated))
    drawn = chosen.sample(evaluated, number)
    others = sorted(set(range(EVERY, len(batches) - 1)) - set(evaluated))
    return sorted(at + 1 for at in [*drawn, *chosen.sample(others, kills - number)])


def first_batches(python, program, given, **variables):
    """Return what a loader says of itself, its seconds to the first batch, and its state's size."""
    names = [f"state-{share}" for share in SHARES]
    out = report.ran(python, program, json.dumps({**given, "first": names}), **variables)
    facts = json.loads(out.splitlines()[-1])
    seconds = [facts["seconds"][name] for name in names]
    state = (Path(given["folder"]) / "state-50").read_bytes().split(b"\n", 1)[1]
    return {**facts, "seconds": seconds, "bytes": len(state)}


def rates(batches):
    """Return the share of the tokens in packed rows that is no padding, None without packing."""
    packed = [batch for batch in batches if "room" in batch and batch.get("stream") != "held-out"]
    if not packed:
        return {"fill": None}
    return {"fill": sum(b["tokens"] for b in packed) / sum(b["room"] for b in packed)}


def table(rows):
    """Yield the lines of the table; what Feedrace loses comes first."""
    yield from behind(rows)
    heads = [
        "loader", "texts lost", "texts repeated", "batches as without a kill",
        "other number of workers", "bytes of state", "seconds to the first batch at 5 / 50 / 95 %",
        "fill",
    ]  # fmt: skip
    yield from report.table(heads, map(_cells, rows))


def behind(rows):
    """Yield a line for each measure in which a peer is ahead of Feedrace."""
    ours, *peers = rows
    sooner = []
    for row in peers:
        places = [
            f"{mine / theirs:.2f}x at {share} %"
            for share, mine, theirs in zip(SHARES, ours["seconds"], row["seconds"], strict=True)
            if theirs < mine
        ]
        if places:
            sooner.append(f"{row['loader']} ({', '.join(places)})")
    if sooner:
        yield f"First batch sooner: {', '.join(sooner)}."
        yield ""
    measures = (
        ("Smaller state", lambda row: 1 / row["bytes"], "{:.2f}x"),
        ("Fuller rows", lambda row: row["fill"] or 0, "{:.2f}x"),
        ("Fewer texts lost or repeated", lambda row: -row["lost"] - row["repeated"], None),
    )  # fmt: skip
    for words, measure, form in measures:
        ahead = [
            row["loader"] + (f" {form.format(measure(row) / measure(ours))}" if form else "")
            for row in peers
            if measure(row) > measure(ours)
        ]
        if ahead:
            yield f"{words}: {', '.join(ahead)}."
            yield ""


def _cells(row):
    same, all_batches = row["same"]
    return [
        row["loader"],
        f"{row['lost']:,}",
        f"{row['repeated']:,}",
        f"{same:,} of {all_batches:,}",
        row["other"],
        f"{row['bytes']:,}",
        " / ".join(f"{seconds:.2f}" for seconds in row["seconds"]),
        "-" if row["fill"] is None else f"{100 * row['fill']:.1f} %",
    ]


def own_table(row):
    """Yield the lines of the table of what else was counted for Feedrace."""
    complete, evaluations = row["evaluations"]
    alike, again = row["again"]
    whole, killed = row["losses"]
    processes = sorted({processes for processes, _ in row["sizes"]})
    heads = ["Feedrace, killed " + f"{row['kills']} times", ""]
    form = "{:.3f} to {:.3f}, held out {:.3f}"
    yield from report.table(
        heads,
        [
            ["kills inside an evaluation", str(row["inside"])],
            ["restarts inside a window of `pack`", str(row["windows"])],
            ["processes", ", ".join(map(str, processes))],
            ["evaluations complete", f"{complete} of {evaluations}"],
            ["batches made again after a kill, with the same bytes", f"{alike} of {again}"],
            ["loss in nats a byte, never killed", form.format(*whole)],
            ["loss, killed", form.format(*killed)],
        ],
    )


def draw(rows, path):
    """Draw the seconds to the first batch as lines, and two counts as bars."""
    figure, (lines, *bars) = report.pyplot().subplots(
        1, 3, figsize=(10, 3), layout="constrained", width_ratios=(1.4, 1, 1)
    )
    for row, mark, colour in zip(rows, "os^Dv", (style.OURS[0], *style.OTHERS), strict=False):
        lines.plot(SHARES, row["seconds"], marker=mark, label=row["loader"], color=colour)
    lines.set_yscale("log")
    lines.set_ylim(0.2 * min(min(row["seconds"]) for row in rows))  # room for the legend
    lines.set_title("seconds to the first batch, by % of the epoch", fontsize=9)
    lines.set_xticks(SHARES)
    lines.tick_params(labelsize=8)
    lines.legend(fontsize=7, loc="lower center", ncols=2)
    names = [row["loader"] for row in rows]
    wrong = [row["lost"] + row["repeated"] for row in rows]
    sizes = [row["bytes"] for row in rows]
    panels = (
        ("texts lost or repeated", wrong, wrong),
        ("bytes of state (logarithmic)", [math.log10(size) for size in sizes], sizes),
    )
    for axis, (title, values, labels) in zip(bars, panels, strict=True):
        report.draw_bars(axis, title, names, values, [f"{label:,}" for label in labels])
    report.save(figure, path)
