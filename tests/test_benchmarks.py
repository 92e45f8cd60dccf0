"""What the runner of the benchmarks makes of the lines that they print."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def runner():
    path = Path(__file__).parent / "benchmarks" / "run.py"
    spec = importlib.util.spec_from_file_location("benchmarks_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_with_targets_are_figures(runner):
    lines = [
        "photographs against the best peer: 1.11x (target 1.3); ours 3,065 records/s",
        "a worker's memory beyond its reader: 20.00 MiB (at most 120)",
        "  ours: 3,065 records/s (2,900 to 3,100), 7 us of CPU a record",
        "(grain is not installed and not measured)",
    ]
    assert runner.figures_in(lines) == {
        "photographs against the best peer": (1.11, "x", "1.3"),
        "a worker's memory beyond its reader": (20.0, "MiB", "at most 120"),
    }


@pytest.mark.parametrize(
    ("value", "before", "target", "findings"),
    [
        (1.4, 1.4, "1.3", []),
        (1.2, 1.4, "1.3", ["short"]),
        (1.4, 1.8, "1.3", ["worse"]),
        (2.0, 2.4, "at most 1.5", ["short"]),
        (1.4, 1.0, "at most 1.5", ["worse"]),
        (1.0, 1.4, "at most 1.5", []),
        (1.4, 1.0, "about 1", ["worse"]),
        (0.7, 0.7, "none", []),
    ],
)
def test_misses_and_what_got_worse_are_named(runner, value, before, target, findings):
    now, old = runner.Figure(value, "x", target), runner.Figure(before, "x", target)
    shown = runner.findings({"what": now}, {"what": old})
    assert [line.partition(" ")[0] for line in shown] == findings
