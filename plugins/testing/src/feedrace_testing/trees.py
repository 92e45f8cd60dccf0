"""Comparing trees of arrays."""

from typing import Any

import jax
import numpy as np


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
    """Return whether two leaves are equal; an array of objects may hold arrays."""
    if isinstance(one, str | bytes):  # numpy would leave out zeros at the end
        return bool(type(one) is type(two) and one == two)
    one, two = np.asarray(one), np.asarray(two)
    if one.dtype != object or two.dtype != object or not one.ndim:
        return bool(np.array_equal(one, two))
    pairs = zip(one.ravel(), two.ravel(), strict=False)
    return one.shape == two.shape and all(_same(a, b) for a, b in pairs)


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
