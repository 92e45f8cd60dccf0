"""Alternating measurements in one run, as ratios of medians."""

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def alternate(functions: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each function, all called in turn `rounds` times."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()  # the first call compiles and fills caches
    for _ in range(rounds):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def report(what: str, ratio: float, target: str, detail: str) -> None:
    """Print one line of a benchmark."""
    print(f"{what}: {ratio:.2f}x (target {target}); {detail}", flush=True)


def figure(what: str, value: float, unit: str, most: str) -> None:
    """Print one line of a benchmark whose result is not a ratio."""
    print(f"{what}: {value:.2f} {unit} (at most {most})", flush=True)


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
