"""Hypothesis strategies for slices of positions, elements and batches."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from feedrace.plugin import VALID_MASK

_DTYPES = ("float32", "int32", "uint8", "bool")


def spans(end: int, *, parts: int = 2) -> st.SearchStrategy[list[int]]:
    """Return a strategy for `parts + 1` positions in ascending order, each from 0 to `end`."""
    positions = st.lists(st.integers(0, end), min_size=parts + 1, max_size=parts + 1)
    return positions.map(sorted)


@st.composite
def elements(
    draw: st.DrawFn, *, min_size: int = 1, max_size: int = 12, host: bool = True
) -> list[dict[str, Any]]:
    """Draw a list of elements with equal structure, shapes and dtypes.

    Each has an int32 field `id`, its index in the list, and an array `x`; if `host` is true, some
    lists also have a string field `name`.
    """
    count = draw(st.integers(min_size, max_size))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    dtype = draw(st.sampled_from(_DTYPES))
    named = host and draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drawn = []
    for number in range(count):
        x = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        element: dict[str, Any] = {"id": np.int32(number), "x": x}
        drawn.append({**element, "name": f"n{number}"} if named else element)
    return drawn


@st.composite
def batches(
    draw: st.DrawFn, fields: dict[str, tuple[tuple[int, ...], str]], *, max_size: int = 8
) -> dict[str, Any]:
    """Draw a batch as pipelines make it: padded with zeros at its end, with a `valid_mask`.

    fields: name to (shape of one record, dtype).
    """
    size = draw(st.integers(1, max_size))
    valid = draw(st.integers(1, size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch: dict[str, Any] = {}
    for name, (shape, dtype) in fields.items():
        values = rng.integers(0, 100, (size, *shape)).astype(dtype)
        values[valid:] = 0
        batch[name] = values
    return {**batch, VALID_MASK: np.arange(size) < valid}
