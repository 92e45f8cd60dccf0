"""What the demonstrations share: a program in a peer's environment, tables, pictures, pages."""

import os
import re
import subprocess
import time
from pathlib import Path
from string import Template

import peers as environments
import style

QUIET = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def ran(python, program, *arguments, **variables):
    """Run a program to its end, and return what it printed.

    Raises `RuntimeError` with the last lines of its standard error if it fails.
    """
    done = subprocess.run(
        [python, program, *map(str, arguments)],
        env={**os.environ, **QUIET, **variables},
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"it ended with {done.stderr[-400:]}")
    return done.stdout


def begin():
    """Return (the time, the share of its processors in use, its cores), before work begins."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return time.perf_counter(), in_use(cores), cores


def in_use(cores):
    """Return which share of the machine's processors others use, seen for two seconds."""
    place = Path("/proc/stat")
    if not place.exists():
        return os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 0.0
    seen = []
    for pause in (2, 0):
        times = [int(word) for word in place.read_text().split("\n")[0].split()[1:9]]
        seen.append((sum(times), times[3] + times[4]))  # all; idle, or waiting for a disk
        time.sleep(pause)
    (whole, idle), (later, resting) = seen
    return 1 - (resting - idle) / max(later - whole, 1)


def facts(began):
    """Return what a page says of its run, in words: `minutes`, `cores` and `machine`."""
    moment, share, cores = began
    minutes = max(1, round((time.perf_counter() - moment) / 60))
    return {
        "minutes": f"{minutes} minute{'s' if minutes > 1 else ''}",
        "cores": f"{cores} core{'s' if cores > 1 else ''}",
        "machine": machine(share, cores),
    }


def machine(share, cores):
    """Return a sentence if the machine was busy before a demonstration began, or nothing."""
    if share <= 0.2:
        return ""
    return (
        f"**The machine was busy: {share:.0%} of its {cores} cores were in use before this began. "
        f"Take no figure below for that of a quiet one.**"
    )


def each(loaders, peers, own, serve):
    """Return {name: what `serve(name, python)` returns} for a mapping of loader to environment.

    None as an environment is Python `own`. A loader that fails is named, and left out.
    """
    rows = {}
    for name, peer in loaders.items():
        try:
            python = own if peer is None else environments.python_of(peer, peers)
            rows[name] = serve(name, python)
        except RuntimeError as error:
            print(f"({name} is left out: {error})", flush=True)
            continue
        print(f"{name} is done", flush=True)
    return rows


def table(heads, rows):
    """Yield the lines of a Markdown table; all columns but the first are numbers."""
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def versions_of(rows):
    """Return the versions that each row has, as one line; those of several rows once."""
    each = (
        " ".join(f"{name} {version}" for name, version in row["versions"].items()) for row in rows
    )
    return "; ".join(dict.fromkeys(each))


def pyplot():
    """Return matplotlib's pyplot, set to draw the same SVG each time, in our style."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(style.STYLE)
    from matplotlib import pyplot

    return pyplot


def draw_bars(axis, title, names, values, labels, *, others=style.GREY, size=8):
    """Draw one bar a name, those of Feedrace in a colour, with a label at the end of each."""
    colours = [style.OURS[0] if name.startswith("Feedrace") else others for name in names]
    axis.bar_label(axis.barh(names, values, color=colours), labels, padding=3, fontsize=size)
    axis.set_title(title, fontsize=size + 1)
    axis.invert_yaxis()
    axis.set_xlim(0, max(*values, 1e-9) * 1.35)
    axis.tick_params(labelsize=size)
    axis.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)


def publish(page, program, rows, began, draw, **words):
    """Draw the rows of a demonstration, and write its page by the template beside its program.

    rows: of loaders, with `how` each was set up and its `versions`. began: what `begin` returned.
    draw: called with the rows and the picture's path.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    draw(rows, page.with_suffix(".svg"))
    ways = "\n".join(f"- {row['loader']}: {row['how']}" for row in rows)
    words |= facts(began) | {"ways": ways, "versions": versions_of(rows)}
    write(page, Path(program).with_suffix(".md"), **words)


def write(page, template, **words):
    """Write a page from a template, whose `$picture` is the page's picture.

    A word that is empty leaves no blank lines.
    """
    text = Template(template.read_text(encoding="utf-8"))
    text = text.substitute(picture=f"{page.stem}.svg", **words)
    page.write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8")
    print(f"\nwritten: {page}")
