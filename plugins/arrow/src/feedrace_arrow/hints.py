"""What Hugging Face's metadata say of columns beyond their Arrow types."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_ENCODED = ("Image", "Audio", "Video", "Pdf", "Nifti")


def hints_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the features of each column, as `datasets` writes them into a schema; often none."""
    try:
        document = json.loads((schema.metadata or {})[b"huggingface"])
        features = document["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):  # what others wrote is no hint
        return {}
    return features if isinstance(features, dict) else {}


def encoded(hint: Any) -> bool:
    """Return whether a struct of `bytes` and `path` is one encoded image, sound or the like."""
    return isinstance(hint, Mapping) and hint.get("_type") in _ENCODED


def shape_of(hint: Any) -> tuple[int | None, ...] | None:
    """Return the shape of an `Array2D` to `Array5D`, which is stored as lists of lists."""
    if not isinstance(hint, Mapping) or not str(hint.get("_type", "")).startswith("Array"):
        return None
    shape = hint.get("shape")
    if not isinstance(shape, list | tuple) or not shape:
        return None
    fits = all(size is None or (isinstance(size, int) and size >= 0) for size in shape)
    return tuple(shape) if fits else None


def child_hint(hint: Any, name: str = "") -> Any:
    """Return what is known of the items of a list or, by name, of a child of a struct."""
    if isinstance(hint, list | tuple):
        return hint[0] if hint and not name else None
    if not isinstance(hint, Mapping):
        return None
    inner = hint.get("feature") if "_type" in hint else hint
    if not name or not isinstance(inner, Mapping):
        return inner
    if "_type" in hint:  # a sequence of dicts, which is stored as a struct of lists
        return {**hint, "feature": inner.get(name)}
    return inner.get(name)
