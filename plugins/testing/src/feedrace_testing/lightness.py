"""What importing modules costs, measured in another process."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import attrs

LIMIT = 0.05  # seconds of processor time for importing a plugin's declarations and configs
HEAVY = ("jax", "flax", "numpy", "tensorflow", "tensorflow_datasets", "torch", "pandas", "scipy")

# What listing names and reading configs imports anyway does not count.
_PROGRAM = """
import importlib, json, sys, time
import feedrace
feedrace.available()
feedrace.plugin.SamplerConfig, feedrace.plugin.hookimpl
seconds = []
for name in {names!r}:
    began = time.process_time()
    importlib.import_module(name)
    seconds.append(time.process_time() - began)
print(json.dumps([sum(seconds), [m for m in {heavy!r} if m in sys.modules]]))
"""


@attrs.frozen
class Weight:
    """Seconds of processor time that some imports took, and which heavy libraries they loaded.

    error: the last line that a failed import printed, or that it never ended; else empty.
    """

    seconds: float
    heavy: tuple[str, ...]
    error: str = ""


def weigh(names: Sequence[str], *, limit: float = 30.0) -> Weight:
    """Import modules in a new process and return what that costs beyond feedrace itself.

    The fastest of up to three runs counts, in processor time, since the machine may be busy. An
    import that takes longer than `limit` seconds is an error.
    """
    program = _PROGRAM.format(names=list(names), heavy=HEAVY)
    path = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "PYTHONPATH": path, "FEEDRACE_PLUGINS": ""}  # imports no plugin
    best = Weight(float("inf"), ())
    for _ in range(3):
        try:
            done = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                timeout=limit,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return Weight(limit, (), f"the import did not end within {limit:g} s")
        if done.returncode:
            return Weight(0.0, (), (done.stderr.strip() or "it exited").splitlines()[-1])
        seconds, heavy = json.loads(done.stdout.splitlines()[-1])
        best = min(best, Weight(seconds, tuple(heavy)), key=lambda weight: weight.seconds)
        if best.seconds <= LIMIT:
            break
    return best
