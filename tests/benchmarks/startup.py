"""What starting and finding plugins costs: 100 dists, 10 of them plugins of 5 components each."""

import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

import numpy as np
from measure import alternate, report

import feedrace
from feedrace.registry import catalog

FEEDRACE = str(Path(sys.executable).with_name("feedrace"))
DISTS, PLUGINS, COMPONENTS = 100, 10, 5
HEAD = "from feedrace.plugin import Component, hookimpl\n\nFEEDRACE_API = 1\n\n"
DECLARED = """    yield Component(
        kind="sampler", name="sampler-{p}-{c}", target="bench_plugin_{p}.code:Sampler",
        config="bench_plugin_{p}.config:Config", summary="A sampler.",
    )
"""
HOOKS = """
@hookimpl
def feedrace_epoch_end(pipeline, stream, epoch):
    pass

@hookimpl
def feedrace_state_saved(pipeline, state):
    pass
"""


def install(folder, hooks=""):
    """Write the dists into a folder that will be on the path."""
    for number in range(DISTS):
        info = folder / f"bench_dist_{number}-1.0.dist-info"
        info.mkdir()
        about = f"Metadata-Version: 2.1\nName: bench-dist-{number}\nVersion: 1.0\n\n"
        (info / "METADATA").write_text(about + "A line of a long description.\n" * 100)
        (info / "RECORD").write_text("")
        points = "[console_scripts]\nbench = bench:main\n"
        if number < PLUGINS:
            points += f"\n[feedrace]\nbench-{number} = bench_plugin_{number}.plugin\n"
            package = folder / f"bench_plugin_{number}"
            package.mkdir()
            (package / "__init__.py").write_text("")
            components = "".join(DECLARED.format(p=number, c=c) for c in range(COMPONENTS))
            declared = f"@hookimpl\ndef feedrace_components():\n{components}"
            (package / "plugin.py").write_text(HEAD + declared + hooks)
        (info / "entry_points.txt").write_text(points)


@contextlib.contextmanager
def only_on_path(*folders):
    """Let discovery see the dists of some folders alone; what is imported already stays."""
    before = list(sys.path)
    sys.path[:] = [str(folder) for folder in folders]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
        forget()


def forget():
    catalog.refresh()
    for name in [name for name in sys.modules if name.startswith("bench_plugin")]:
        del sys.modules[name]


def discovery(folder):
    def scan():
        forget()
        return catalog.scan()

    catalog.scan()  # whatever it imports itself is there
    with only_on_path(folder):
        assert len(scan().components) == PLUGINS * COMPONENTS + 8
        second = alternate({"scan": scan}, rounds=15)["scan"]
        count = 2000
        resolving = min(
            timeit.repeat(lambda: catalog.resolve("sampler", "sampler-7-3"), number=count)
        )
        qualified = min(
            timeit.repeat(lambda: catalog.resolve("sampler", "bench-7/sampler-7-3"), number=count)
        )
    print(f"own work of discovery, {DISTS} dists, {PLUGINS} plugins: {second * 1e3:.1f} ms "
          f"(target 20)")  # fmt: skip
    print(f"resolving a name: {resolving / count * 1e6:.2f} us, qualified "
          f"{qualified / count * 1e6:.2f} (target 10)")  # fmt: skip


def processes(folder):
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import feedrace": [sys.executable, "-c", "import feedrace"],
        "feedrace plugins list (target 200 ms)": [FEEDRACE, "plugins", "list"],
    }
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def runner(command):
        return lambda: subprocess.run(command, capture_output=True, check=True, env=environment)

    seconds = alternate({name: runner(c) for name, c in commands.items()}, rounds=15)
    for name, second in seconds.items():
        print(f"{name}: {second * 1e3:.0f} ms")


def steps(without, hooked):
    """A step with 10 plugins that implement hooks, against one with plugins that do not."""
    pipeline = feedrace.build(
        {
            "batch_size": 16,
            "prefetch": 0,
            "source": {"use": "memory", "data": {"x": np.zeros((16 * 400, 4), np.float32)}},
        }
    )

    def run(folder):
        def epoch():
            for _ in pipeline:
                pass

        def go():
            with only_on_path(folder):
                catalog.scan()
                return min(timeit.repeat(epoch, number=1, repeat=3))

        return go

    times = {"none": [], "ten": []}
    goes = {"none": run(without), "ten": run(hooked)}
    for _ in range(7):
        for name, go in goes.items():
            times[name].append(go())
    none, ten = (float(np.median(times[name])) / 400 * 1e6 for name in ("none", "ten"))
    report(
        "a step beside 10 plugins with hooks", ten / none, "1", f"{ten:.1f} us against {none:.1f}"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        install(Path(one))
        install(Path(two), HOOKS)
        discovery(Path(one))
        steps(Path(one), Path(two))
        processes(Path(one))
