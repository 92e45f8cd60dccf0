"""What a schema's metadata say of columns beyond their Arrow types.

Hugging Face's `datasets` writes its features there, `feedrace convert` the fields it wrote.
"""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pyarrow as pa

from feedrace.plugin import DataError, clipped

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


@attrs.frozen(eq=False)
class Written:
    """A field as `feedrace convert` had it; its column holds the values flat.

    parts: plain values that make one of them, 2 for complex numbers.
    """

    shape: tuple[int | None, ...]
    dtype: "np.dtype[Any]"
    parts: int


def written_in(schema: pa.Schema, where: str) -> dict[tuple[str, ...], Written]:
    """Return the fields that `feedrace convert` wrote, by path; none in other files.

    Raises `DataError` for those of another release, and for damaged ones.
    """
    text = (schema.metadata or {}).get(b"feedrace")
    if text is None:
        return {}
    try:
        document = json.loads(text)
        if document["version"] != 1:
            raise ValueError(f"version {clipped(document['version'])}, where 1 is known")
        return {tuple(field["path"]): _written(field) for field in document["fields"]}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"what `feedrace convert` wrote of the fields of {where} cannot be read ({error}); "
            f"convert again"
        ) from error


def _written(field: Any) -> Written:
    shape = tuple(field["shape"])
    if not all(n is None or (type(n) is int and n >= 0) for n in shape):
        raise ValueError(f"a shape of {clipped(shape)}")
    name = field["dtype"]
    if name in ("str", "bytes"):
        return Written(shape, np.dtype(object), 1)
    try:
        dtype = np.dtype(name)
    except TypeError:
        import ml_dtypes

        dtype = np.dtype(getattr(ml_dtypes, name))
    return Written(shape, dtype, 2 if dtype.kind == "c" else 1)
