"""Specs of batches of sequences."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from feedrace.plugin import DataError, arriving_dtype, is_host_dtype, is_wide, leaves
from feedrace_batchers.sequences import check_names, unlisted


def split_spec(
    element_spec: Any, limits: Mapping[str, int], suffixes: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the specs of the sequence fields and of the others.

    suffixes: of the names of what the batcher adds for each sequence field.

    Raises `DataError` if a sequence field is missing or is not a sequence, if a name is taken, or
    if a field that is not among `limits` differs in length.
    """
    if not isinstance(element_spec, dict):
        raise DataError(f"an element is {element_spec!r}, not a dict of fields")
    for name in limits:
        if name not in element_spec:
            raise DataError(f"there is no field {name!r}; there are {', '.join(element_spec)}")
        spec = element_spec[name]
        if not hasattr(spec, "shape") or not spec.shape or is_host_dtype(spec.dtype):
            raise DataError(f"field {name!r} is {spec}, not a sequence of numbers")
        if None in spec.shape[1:]:
            raise DataError(
                f"field {name!r} has the shape {spec.shape}, in which an axis after the first "
                f"differs from record to record; only the first may, so that a sampler's windows "
                f"of records that differ in length cannot be batched"
            )
    check_names(element_spec, limits, suffixes)
    others = {name: spec for name, spec in element_spec.items() if name not in limits}
    for name, leaf in leaves(others):
        if None in leaf.shape:
            raise unlisted(name, limits)
    return {name: element_spec[name] for name in limits}, others


def sequence_spec(spec: Any, shape: tuple[int, int]) -> jax.ShapeDtypeStruct:
    """Return the spec of a sequence field in a batch of shape (rows, length)."""
    return with_leading(shape, jax.ShapeDtypeStruct(spec.shape[1:], spec.dtype))


def with_leading(shape: tuple[int, ...], leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the spec of a leaf behind leading axes of `shape`, with the dtype that arrives."""
    dtype = arriving_dtype(leaf.dtype, wide=is_wide())
    return jax.ShapeDtypeStruct((*shape, *leaf.shape), dtype)


def mask_spec(*shape: int) -> jax.ShapeDtypeStruct:
    """Return the spec of a mask."""
    return jax.ShapeDtypeStruct(shape, np.dtype(bool))
