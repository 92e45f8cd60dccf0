"""Run the benchmarks; show what is short of its target, or worse than the figures kept here.

`docs/benchmarks/figures.json` holds the last figures that were kept, with the commit and the
libraries they are of; the page and the pictures beside it show them. A run of all programs keeps
its figures, unless it is quick or `--out` is given; `--keep` keeps those of the programs that were
named. A program that fails or takes too long does not stop the others. Kept figures are of a quiet
machine.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import page
import plots
from results import Figure, charts_in, figures_in, findings, left_out, peers_in, rates_in

FOLDER = Path(__file__).parent
KEPT = FOLDER.parents[1] / "docs" / "benchmarks" / "figures.json"
PROGRAMS = ("samplers", "batchers", "interleave", "decoders", "pipeline", "startup", "tfds", "host",
            "sources", "compose", "loaders", "curves", "scale")  # fmt: skip
WITH_PEERS = ("loaders", "curves")  # that take --peers
WITH_DATARAX = ("batchers", "pipeline")  # that take the Python of an environment that has it
LIBRARIES = ("jax", "flax", "numpy", "tensorflow", "torch", "grain", "datasets", "pyarrow")
MOST_SECONDS = 900.0  # that a program may take


def ran(command: list[str], seconds: float = MOST_SECONDS) -> tuple[str, list[str]]:
    """Run a program, showing what it prints; return what went wrong, if anything, and its lines."""
    lines, ended, stopped = [], threading.Event(), threading.Event()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None

        def stop() -> None:
            if not ended.wait(seconds):
                stopped.set()
                process.kill()

        watch = threading.Thread(target=stop, daemon=True)
        watch.start()
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
        process.wait()
        ended.set()
        watch.join()
    if process.returncode and stopped.is_set():
        return f"took more than {seconds:g} s", lines
    return f"ended with status {process.returncode}" if process.returncode else "", lines


def _commit() -> str:
    git = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip()


def _about() -> dict[str, object]:
    """Return what figures depend on: the libraries, the CPUs and who else uses them."""
    found = {d.name: d.version for d in importlib.metadata.distributions() if d.name in LIBRARIES}
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "libraries": dict(sorted(found.items())),
    }


def _datarax(folder: str) -> list[str]:
    """Return the option that names datarax's Python, or nothing if it cannot be installed."""
    sys.path.append(str(FOLDER.parents[1] / "docs" / "examples" / "show"))
    import peers

    try:
        return ["--datarax", peers.python_of("datarax", Path(folder).absolute())]
    except RuntimeError as error:
        print(error, flush=True)
        return []


def _write(results: dict[str, dict], folder: Path) -> None:
    """Write figures, page and pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(results, indent=1) + "\n")
    pictures = plots.draw(results, folder)
    (folder / "index.md").write_text(page.document(results, pictures), encoding="utf-8")
    print(f"\nwritten: {folder}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", help=f"of {', '.join(PROGRAMS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds")
    parser.add_argument("--keep", action="store_true", help="keep the figures of these programs")
    parser.add_argument("--out", type=Path, help="write page, pictures and figures there instead")
    parser.add_argument("--peers", default=".show", help="folder of the peers' environments; a "
                        "quick run makes none")  # fmt: skip
    given = parser.parse_args()
    if unknown := set(given.programs) - set(PROGRAMS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    if given.keep and (given.quick or given.out):
        parser.error("only figures of whole runs are kept, and only in docs/benchmarks; leave out "
                     f"--keep or {'--quick' if given.quick else '--out'}")  # fmt: skip
    return given


def main() -> int:
    """Run the programs; return 1 if one failed or a figure is worse than the kept one.

    A quick run has fewer rounds, and is not compared with what is kept.
    """
    given = _options()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    keep = given.keep or not (given.programs or given.quick or given.out)
    commit = _commit()  # of all programs: what is kept below makes the tree dirty
    results, shown, missing = {}, [], []
    for program in given.programs or PROGRAMS:
        about = {"commit": commit, **_about()}
        print(f"== {program} (load {about['load']:.1f})", flush=True)
        command = [sys.executable, "-u", str(FOLDER / f"{program}.py")]
        command += ["--quick"] if given.quick else []
        command += ["--peers", given.peers] if program in WITH_PEERS else []
        command += _datarax(given.peers) if program in WITH_DATARAX and not given.quick else []
        if program == "scale" and (keep or given.out):
            command += ["--page", str((given.out or KEPT.parent) / "scale.md")]
        began = time.monotonic()
        wrong, lines = ran(command)
        now, without = figures_in(lines), left_out(lines)
        print(f"== {program}: {len(now)} figures in {time.monotonic() - began:.0f} s", flush=True)
        old = {} if given.quick else kept.get(program, {}).get("figures", {})
        shown += findings(now, {what: Figure(*figure) for what, figure in old.items()})
        missing += [f"{program}: {line}" for line in without]
        if wrong:
            shown.append(f"failed: {program}.py {wrong}")
            continue
        found = {"rates": rates_in(lines), "charts": charts_in(lines), "peers": peers_in(lines)}
        results[program] = {**about, "figures": now, **found, "left_out": without}
        if keep:
            kept[program] = results[program]
            KEPT.parent.mkdir(parents=True, exist_ok=True)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    if given.out or keep:
        ordered = {name: kept[name] for name in PROGRAMS if name in kept}
        _write(ordered if keep else results, given.out or KEPT.parent)
    mark = page.in_terminal if sys.stdout.isatty() else str
    print("\n== Figures\n" + "\n".join(page.table(page.ranked(results), mark)))
    print("\n== Left out\n" + "\n".join(missing or ["nothing"]))
    print("\n== Misses\n" + "\n".join(map(mark, shown) if shown else ["none"]))
    return 1 if any(line.startswith(("worse", "failed")) for line in shown) else 0


if __name__ == "__main__":
    sys.exit(main())
