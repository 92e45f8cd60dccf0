"""What the demonstrations share: a program in a peer's environment, tables, pictures, pages."""

import os
import subprocess
from string import Template

import peers as environments

QUIET = {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
OURS, OTHERS, FAULTS = "#1f6f8b", "#b8b8b8", "#c8635f"


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
    """Return matplotlib's pyplot, set to draw the same SVG each time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "feedrace"
    from matplotlib import pyplot

    return pyplot


def draw_bars(axis, title, names, values, labels, *, others=OTHERS, size=8):
    """Draw one bar a name, those of Feedrace in a colour, with a label at the end of each."""
    colours = [OURS if name.startswith("Feedrace") else others for name in names]
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


def write(page, template, **words):
    """Write a page from a template, whose `$picture` is the page's picture."""
    text = Template(template.read_text(encoding="utf-8"))
    page.write_text(text.substitute(picture=f"{page.stem}.svg", **words), encoding="utf-8")
    print(f"\nwritten: {page}")
