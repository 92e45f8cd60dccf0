"""Alternating measurements in one run, as ratios of medians."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

QUICK = "--quick" in sys.argv  # all programs take it: fewer records and rounds
IMAGES = {"small_png": 5_000 if QUICK else 50_000, "large_jpeg": 1_000 if QUICK else 4_000}


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each function, all called in turn `rounds` times.

    A quick run takes a third of the rounds.
    """
    rounds = -(-rounds // 3) if QUICK else rounds
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()  # the first call compiles and fills caches
    for _ in range(rounds):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def take_turns(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Return what each function returned, all called in turn `rounds` times."""
    found: dict[str, list[Any]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            found[name].append(function())
    return found


def data_folder() -> Path:
    """Return the folder of the data sets that benchmarks make; quick runs have smaller ones."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(os.environ.get("FEEDRACE_BENCH_DATA") or f"{home}/feedrace/benchmarks")
    return folder / "quick" if QUICK else folder


def quick_option(parser: argparse.ArgumentParser) -> None:
    """Add `--quick`, which the program itself need not look at: `QUICK` says it."""
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds")


def options(
    description: str | None, rows: Mapping[str, object], *, peers: bool = False
) -> argparse.Namespace:
    """Return what the command line says of a program of several rows.

    peers: whether it runs peers in environments of their own.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of the sets")
    parser.add_argument("--only", nargs="+", choices=rows, metavar="NAME", help=", ".join(rows))
    quick_option(parser)
    if peers:
        parser.add_argument("--peers", type=Path, default=".show", help="the peers' environments")
    return parser.parse_args()


def run_rows(given: argparse.Namespace, rows: Mapping[str, Callable[[Any], object]]) -> None:
    """Run the rows that were asked for, with a cache folder that is empty at first."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FEEDRACE_CACHE_DIR"] = cache
        for name in given.only or rows:
            begin(name)
            rows[name](given)


def begin(name: str) -> None:
    """Print the line that opens a row; the rates below it are the row's."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"{name} (load {load:.1f} on {cpus} cores)", flush=True)


def _descendants() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the command, of all processes below this one."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
    found: dict[int, list[str]] = {}
    parents = {os.getpid()}
    while parents:
        below = {pid: stat for pid, stat in stats.items() if int(stat[1]) in parents}
        found |= below
        parents = set(below)
    return found


def children() -> list[int]:
    """Return the processes below this one, without the one that multiprocessing cleans up by."""
    found = []
    for pid, stat in _descendants().items():
        if stat[0] != "Z" and b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            found.append(pid)
    return sorted(found)


def cpu_seconds() -> float:
    """Return the seconds that this process and all below it have computed."""
    ticks = sum(int(field) for stat in _descendants().values() for field in stat[11:15])
    return sum(os.times()[:4]) + ticks / os.sysconf("SC_CLK_TCK")


def private_bytes(pid: int) -> int:
    """Return the memory of a process that it shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def report(what: str, ratio: float, target: str, detail: str) -> None:
    """Print one line of a benchmark."""
    print(f"{what}: {ratio:.2f}x (target {target}); {detail}", flush=True)


def figure(what: str, value: float, unit: str, most: str) -> None:
    """Print one line of a benchmark whose result is not a ratio."""
    print(f"{what}: {value:.2f} {unit} (at most {most})", flush=True)


def point(chart: str, contender: str, value: float, unit: str, at: int, of: str) -> None:
    """Print one point of a line of a chart, such as 3.1 "ms" at 1000 "records"."""
    print(f"  {chart}, {contender}: {value:.4g} {unit} at {at:,} {of}", flush=True)


def rate_of(contender: str, records: float) -> None:
    """Print the rate of one contender of a row, a bar of the row's chart."""
    print(f"  {contender}: {records:,.0f} records/s", flush=True)


def ran_with(peer: str, versions: Mapping[str, str]) -> None:
    """Print the versions of a peer that ran in an environment of its own."""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"({peer} ran with {listed})", flush=True)


class Served:
    """A function that makes another process do its work once, or None if there is no such process.

    python: the interpreter of an environment that has the peer. script: prints a line once it is
    ready, then one for each line it receives, after doing the work.
    """

    def __init__(self, python: str | None, script: Path, name: str) -> None:
        self._process: Any = None
        if python is None:
            print(f"({name} is not measured: no --{name} PYTHON was given)")
            return
        started = subprocess.Popen(
            [python, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if started.stdout.readline():  # its data is ready
            self._process = started
        else:
            why = started.stderr.read().strip().splitlines()[-1:]
            print(f"({name} is not measured: {' '.join(why)})")

    def __enter__(self) -> Callable[[], object] | None:
        return None if self._process is None else self._ask

    def _ask(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError(self._process.stderr.read())

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
