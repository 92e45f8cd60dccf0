"""Alternating measurements in one run, as ratios of medians."""

import statistics
import time
from collections.abc import Callable, Mapping


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
