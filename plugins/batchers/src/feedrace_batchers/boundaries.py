"""Choose the lengths to which records are padded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feedrace.plugin import ConfigError, Problem, check_integer


def choose_boundaries(lengths: Any, num_buckets: int) -> tuple[int, ...]:
    """Return the boundaries, at most `num_buckets`, that pad these lengths least.

    lengths: a sample of lengths, ints of 0 or more; the longest is the last boundary.

    No other boundaries have a smaller sum of boundary minus length. They are found by dynamic
    programming over the distinct lengths: the cost of the first j of them in k buckets is the
    minimum over i of (the cost of the first i in k - 1 buckets) + boundary j times the number of
    lengths between. For each k these are lines in the boundary, and their lower envelope has all
    minima in linear time (the convex hull trick).

    Raises `ConfigError` if there is no length, or one is not an int of 0 or more.
    """
    check_integer("num_buckets", num_buckets, 1)
    try:
        sample = np.asarray(lengths)
    except ValueError:  # lists of different lengths
        sample = np.empty(0)
    if sample.ndim != 1 or not sample.size or sample.dtype.kind not in "iu" or sample.min() < 0:
        raise ConfigError([Problem("lengths", "is not a list of ints of 0 or more, at least one")])
    values, counts = np.unique(np.maximum(sample, 1), return_counts=True)  # no boundary is 0
    ends = values.tolist()
    before = np.concatenate([[0], np.cumsum(counts)]).tolist()
    # costs[j]: the sum of boundaries over the lengths of the first j distinct values.
    costs = [0, *(end * count for end, count in zip(ends, before[1:], strict=True))]
    chosen: list[list[int]] = []
    for _ in range(min(num_buckets, len(ends)) - 1):
        costs, starts = _with_one_more(costs, ends, before)
        chosen.append(starts)
    boundaries, j = [], len(ends)
    for starts in reversed(chosen):
        boundaries.append(ends[j - 1])
        j = starts[j]
    boundaries.append(ends[j - 1])
    return tuple(reversed(boundaries))


def _with_one_more(
    costs: Sequence[int], ends: Sequence[int], before: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the costs with one more bucket, and the start of that bucket, for each j.

    Line i is costs[i] + x * (before[j] - before[i]) at x = ends[j - 1]; slopes -before[i] fall with
    i, and x grows with j, so that the best line only moves on.
    """
    more, starts = [0], [0]
    lines: list[tuple[int, int, int]] = []  # (slope, intercept, i) of the lower envelope
    best = 0
    for j, x in enumerate(ends, 1):
        slope, intercept = -before[j - 1], costs[j - 1]
        while len(lines) > best + 1 and _hidden(lines[-2], lines[-1], slope, intercept):
            lines.pop()
        lines.append((slope, intercept, j - 1))
        while best + 1 < len(lines) and _at(lines[best + 1], x) <= _at(lines[best], x):
            best += 1
        more.append(_at(lines[best], x) + x * before[j])
        starts.append(lines[best][2])
    return more, starts


def _at(line: tuple[int, int, int], x: int) -> int:
    return line[0] * x + line[1]


def _hidden(
    left: tuple[int, int, int], middle: tuple[int, int, int], slope: int, intercept: int
) -> bool:
    """Return whether the middle line is nowhere below both its left and the new right one."""
    return (intercept - left[1]) * (left[0] - middle[0]) <= (middle[1] - left[1]) * (
        left[0] - slope
    )
