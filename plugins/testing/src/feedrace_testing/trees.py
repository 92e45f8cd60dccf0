"""Comparing trees of arrays."""

from typing import Any

import jax
import numpy as np

from feedrace.plugin import is_ragged


def same_structure(one: Any, two: Any) -> bool:
    """Return whether two trees have the same structure."""
    return bool(jax.tree.structure(one) == jax.tree.structure(two))  # type: ignore[operator]


def same_values(one: Any, two: Any) -> bool:
    """Return whether two trees have the same structure and equal leaves."""
    if not same_structure(one, two):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(_same(a, b) for a, b in pairs)


def _same(one: Any, two: Any) -> bool:
    if is_ragged(one) and is_ragged(two):  # numpy compares no arrays of arrays
        return len(one) == len(two) and all(map(_same, one, two))
    return np.array_equal(one, two)


def close_values(one: Any, two: Any) -> bool:
    """Return whether two trees have equal leaves but for rounding."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(
        np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=1e-6)
        for a, b in pairs
    )


def fits(shape: tuple[int, ...], spec: tuple[int | None, ...]) -> bool:
    """Return whether an array's shape meets a spec's, in which None stands for any length."""
    return len(shape) == len(spec) and all(b in (None, a) for a, b in zip(shape, spec, strict=True))


def rows(tree: Any, chosen: slice) -> Any:
    """Return some rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[chosen], tree)
