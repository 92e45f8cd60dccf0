"""How many emulated accelerators each loader feeds with photographs; `scan` against the loop."""

import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import report
import style

FEEDER_FOLDER = Path(__file__).with_name("feeders")
H100, ENOUGH = 400 / 0.224, 0.9  # photographs/s of one; utilization: MLPerf Storage v2.0
BATCH = 64
PHOTOGRAPHS, QUICK = 24 * BATCH, 2 * BATCH
SHARES = (0.8, 0.95, 1.1, 1.25, 1.5)  # of a loader's rate: the emulated rates
QUICK_SHARES = (0.9, 1.25)
ROUNDS, SECONDS, QUICK_SECONDS = 3, 1.0, 0.4
# By name: program, environment (None for this one), kind of workers. Peers follow ours.
FEEDERS = {
    "Feedrace, threads": ("feedrace", None, "thread"),
    "Feedrace, processes": ("feedrace", None, "process"),
    "tf.data, threads": ("tensorflow", "tensorflow", "thread"),
    "torch, processes": ("torch", "torch-images", "process"),
    "grain, threads": ("grain", "grain-images", "thread"),
    "grain, processes": ("grain", "grain-images", "process"),
}


def write_photographs(folder, count):
    """Write JPEG files of 200 to 700 pixels a side, parts of scikit-learn's two photographs."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(3)
    labels = ["file,number"]
    for i in range(count):
        original = originals[i % len(originals)]
        width, height = rng.integers(200, 701, 2).tolist()
        scale = min(original.width / width, original.height / height) * rng.uniform(0.7, 1.0)
        left = rng.uniform(0, original.width - scale * width)
        top = rng.uniform(0, original.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        part = original.resize((width, height), Image.Resampling.BICUBIC, box)
        part.save(folder / f"{i:05}.jpg", quality=90)
        labels.append(f"{i:05}.jpg,{i}")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")


class Feeder:
    """A loader's program, which waits for questions on its standard input between its runs.

    Raises `RuntimeError` with the last lines of its standard error if it ends.
    """

    def __init__(self, log, python, program, *arguments):
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [python, program, *map(str, arguments)],
                env={**os.environ, **report.QUIET},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.facts = self._answer()

    def ask(self, **question):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"it ended with {self._log.read_text()[-400:]}")
        return json.loads(line)

    def close(self):
        """End the program and its workers: ask for it, and kill all of them if that fails."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


def run(*, quick, peers, page):
    count, shares, rounds, seconds = PHOTOGRAPHS, SHARES, ROUNDS, SECONDS
    if quick:
        count, shares, rounds, seconds = QUICK, QUICK_SHARES, 1, QUICK_SECONDS
    began = report.begin()
    _, _, cores = began
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name) / "photographs"
        folder.mkdir()
        write_photographs(folder, count)
        print(f"{count:,} photographs are written", flush=True)

        def started(name, python):
            program, _, kind = FEEDERS[name]
            path = FEEDER_FOLDER / f"{program}_feeder.py"
            log = folder.with_name(f"{name}.log")
            feeder = Feeder(log, python, path, folder, cores, kind)
            stack.callback(feeder.close)
            return feeder

        environments = {name: peer for name, (_, peer, _) in FEEDERS.items()}
        feeders = report.each(environments, peers, sys.executable, started)
        asks = {name: feeder.ask for name, feeder in feeders.items()}
        rows = measured(asks, count, shares, rounds, seconds)
        rows = [{**row, **feeders[row["loader"]].facts} for row in rows]
        stack.close()
        alone = bare(folder, peers, rounds)
        real = real_step(folder, cores, 5 if quick else 40)
    digits = json.loads(
        report.ran(sys.executable, FEEDER_FOLDER / "digits.py", *((2, 1) if quick else (20, 9)))
    )
    parts = {
        "table": "\n".join(table(rows, count)),
        "bounds": bounds(rows, alone, cores),
        "digits": "\n".join(digits_table(digits)),
        "real": real_text(real),
    }
    print("\n" + "\n\n".join(parts.values()))
    if page is not None:
        report.publish(
            page,
            __file__,
            [{**row, "how": row["how"].replace("CORES", str(cores))} for row in rows],
            began,
            draw,
            count=f"{count:,}",
            batch=BATCH,
            rate=f"{H100:,.0f}",
            shares=", ".join(f"{share:g}" for share in shares),
            rounds=rounds,
            **parts,
        )


def measured(asks, count, shares, rounds, seconds):
    """Return a row for each loader: the rate that it feeds at 90 %, and what was seen on the way.

    asks: by a loader's name, a function of `rate` and `epochs` that runs it, as `emulated.run`.
    seconds: the least that a run takes.
    """
    free, seen, check = (defaultdict(list) for _ in range(3))
    for _ in range(2):
        for name, ask in asks.items():
            free[name].append(ask(rate=None, epochs=2))
    first = {name: runs[1]["rate"] for name, runs in free.items()}  # it may warm up at first
    epochs = {name: max(1, math.ceil(seconds * rate / count)) for name, rate in first.items()}
    for k in range(rounds):
        for name, ask in asks.items():
            free[name].append(ask(rate=None, epochs=epochs[name]))
        for share in shares:
            for name, ask in asks.items():
                rate = share * first[name]
                seen[name, rate].append(ask(rate=rate, epochs=epochs[name]))
        print(f"round {k + 1} of {rounds} is done", flush=True)
    curves = {
        name: [
            (rate, statistics.median(run["utilization"] for run in seen[name, rate]))
            for rate in (share * first[name] for share in shares)
        ]
        for name in asks
    }
    fed = {name: rate_at(curve) for name, curve in curves.items()}
    for _ in range(rounds):
        for name, ask in asks.items():
            check[name].append(ask(rate=fed[name], epochs=epochs[name]))
    rows = []
    for name in asks:
        runs = [*free[name], *check[name]]
        for (loader, _), some in seen.items():
            runs.extend(some if loader == name else ())
        rows.append(
            {
                "loader": name,
                "curve": curves[name],
                "fed": fed[name],
                "check": statistics.median(run["utilization"] for run in check[name]),
                "rate": statistics.median(run["rate"] for run in free[name]),
                "own": statistics.median(run["own"] for run in free[name]),
                "unique": min(run["unique"] for run in runs),
            }
        )
    return rows


def rate_at(curve, wanted=ENOUGH):
    """Return the rate at which a curve of (rate, utilization) comes down to `wanted`.

    Above its rate, a loader's utilization is that rate by the step's. So the curve is followed in
    seconds by photograph, in which that is a line, and beyond its ends by the same rule.
    """
    curve = sorted(curve)
    below = next((k for k, (_, used) in enumerate(curve) if used < wanted), len(curve))
    if below == 0 or below == len(curve):
        rate, used = curve[0 if below == 0 else -1]
        return rate * used / wanted
    (slow, high), (fast, low) = curve[below - 1 : below + 1]
    share = (high - wanted) / (high - low)
    return 1 / (1 / slow + share * (1 / fast - 1 / slow))


def bare(folder, peers, rounds):
    """Return photographs/s of the bare calls in one process, or None without an environment."""

    def alone(_, python):
        program = FEEDER_FOLDER / "photographs.py"
        return [float(report.ran(python, program, folder)) for _ in range(rounds)]

    found = report.each({"the bare calls": "grain-images"}, peers, sys.executable, alone)
    return statistics.median(found["the bare calls"]) if found else None


def real_step(folder, cores, steps):
    """Return what a real step saw, or why it was not measured, in words."""
    program = FEEDER_FOLDER / "resnet.py"
    try:
        text = report.ran(sys.executable, program, folder, cores, steps, JAX_PLATFORMS="")
    except RuntimeError as error:
        print(f"(the real step is left out: {error})", flush=True)
        return "its program failed"
    return json.loads(text) or "JAX has no GPU here"


def ours(row):
    return row["loader"].startswith("Feedrace")


def table(rows, count):
    """Yield the lines of the table; what Feedrace loses comes first."""
    best = max(row["fed"] for row in rows if ours(row))
    ahead = [row for row in rows if not ours(row) and row["fed"] > best]
    if ahead:
        names = ", ".join(f"{row['loader']} {row['fed'] / best:.2f}x" for row in ahead)
        yield f"Feeds more than Feedrace here: {names}."
    else:
        yield "No loader fed more than Feedrace here."
    yield ""
    heads = [
        "loader", "accelerators fed at 90 %", "by Feedrace's best", "utilization at that rate",
        "photographs/s without a step", f"unique ids of {count:,} in each epoch",
    ]  # fmt: skip
    ordered = sorted(rows, key=lambda row: -row["fed"])
    ordered = ahead + [row for row in ordered if row not in ahead]
    yield from report.table(heads, (_cells(row, best) for row in ordered))


def _cells(row, best):
    return [
        row["loader"],
        f"{row['fed'] / H100:.2f}",
        f"{row['fed'] / best:.2f}",
        f"{row['check']:.1%}",
        f"{row['rate']:,.0f}",
        f"{row['unique']:,}",
    ]


def bounds(rows, alone, cores):
    """Return what one process alone bounds: the work of a core, and passing batches on."""
    text = []
    if alone is not None:
        text.append(
            f"One process that only decodes, crops and resizes, with the calls of grain and torch, "
            f"makes {alone:,.0f} photographs/s: {alone / H100:.2f} accelerators, and at most "
            f"{cores * alone / H100:.2f} with {cores} cores."
        )
    passed = [row for row in rows if row["loader"].endswith("processes")]
    each = ", ".join(
        f"{row['loader'].split(',')[0]} {1e6 * row['own']:,.0f} us "
        f"({1 / row['own'] / H100:,.0f} accelerators)"
        for row in passed
    )
    if each:
        text.append(
            f"With workers in processes, more cores help until the training process has no time "
            f"left for passing batches on. A photograph takes of its time: {each}."
        )
    return "\n\n".join(text)


def digits_table(seen):
    """Yield the lines of the table of the second part."""
    rates, names = seen["rates"], {
        "loop": "`for batch in pipeline`, a jitted step",
        "alone": "the same step on one batch that is there, no pipeline",
        "scan": "`pipeline.scan(step, ...)`, an epoch a call",
    }  # fmt: skip
    rows = [
        [names[name], f"{rates[name]:,.0f}", f"{rates[name] / rates['loop']:.1f}"] for name in names
    ]
    yield from report.table(["digits", "steps/s", "by the loop"], rows)


def real_text(real):
    """Return what a real step saw, or why it was not measured, in a sentence."""
    if isinstance(real, str):
        return f"The real step was not measured: {real}."
    return (
        f"ResNet-50 in bfloat16 on one {real['device']}, batches of "
        f"{real['batch']}: {real['fed']:,.0f} photographs/s fed by Feedrace's processes, "
        f"{real['alone']:,.0f} on a batch that is there, a utilization of "
        f"{real['fed'] / real['alone']:.1%}."
    )


def draw(rows, path):
    """Draw utilization against the emulated rate, and accelerators fed as bars."""
    figure, (lines, bars) = report.pyplot().subplots(
        1, 2, figsize=(9, 3), layout="constrained", width_ratios=(3, 2)
    )
    others, blues, marks = iter(style.OTHERS), iter(style.OURS), iter("osD^vPX*")
    for row in rows:
        rates, used = zip(*sorted([*row["curve"], (row["fed"], row["check"])]), strict=True)
        lines.plot(
            [rate / H100 for rate in rates],
            [100 * share for share in used],
            color=next(blues if ours(row) else others),
            marker=next(marks),
            markersize=4,
            linewidth=2 if ours(row) else 1,
            label=row["loader"],
            zorder=3 if ours(row) else 2,
        )
    lines.axhline(100 * ENOUGH, color=style.INK, linewidth=1, linestyle=":")
    lines.set_xlabel("rate of the emulated step, in accelerators", fontsize=8)
    lines.set_title("utilization, %", fontsize=9)
    lines.legend(fontsize=7, loc="lower left")
    lines.set_ylim(20, 104)  # room for the legend
    lines.set_xlim(left=0)
    lines.tick_params(labelsize=8)
    names, values = [row["loader"] for row in rows], [row["fed"] / H100 for row in rows]
    report.draw_bars(
        bars, "accelerators fed at 90 %", names, values, [f"{value:.2f}" for value in values]
    )
    report.save(figure, path)
