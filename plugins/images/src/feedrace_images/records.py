"""The image of a record: an array of shape (height, width, channels), or encoded as bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, LeafSpec

Image = NDArray[Any]  # of shape (height, width, channels)
_RESIZABLE = ("uint8", "uint16", "float32")


def field_of(stage: str, record: Mapping[str, Any], field: str) -> Any:
    """Return a field of a record, or of its spec; raise `DataError` if it has none."""
    if field not in record:
        fields = ", ".join(sorted(record))
        raise DataError(f"{stage}: no field {field!r}; the record has {fields}")
    return record[field]


def image_of(stage: str, record: Mapping[str, Any], field: str) -> Image:
    """Return the image in a field; raise `DataError` if it holds none."""
    value = field_of(stage, record, field)
    if not isinstance(value, np.ndarray) or value.ndim != 3:
        raise DataError(f"{stage}: field {field!r} holds {_shown(value)}, {_NO_IMAGE}")
    if not value.size:
        raise DataError(f"{stage}: field {field!r} holds an image without pixels, {_shown(value)}")
    return value


def encoded_of(stage: str, record: Mapping[str, Any], field: str) -> bytes:
    """Return the encoded image in a field; raise `DataError` if it holds none."""
    value = field_of(stage, record, field)
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.uint8:
        return value.tobytes()
    raise DataError(f"{stage}: field {field!r} holds {_shown(value)}, {_NOT_ENCODED}")


def image_spec(stage: str, spec: Mapping[str, Any], field: str, *, resized: bool = False) -> Any:
    """Return the spec of the image in a field; raise `DataError` if it holds none.

    resized: the stage computes new values, which it can do for some dtypes only.
    """
    leaf = field_of(stage, spec, field)
    if len(leaf.shape) != 3:
        raise DataError(f"{stage}: field {field!r} holds {_leaf(leaf)}, {_NO_IMAGE}")
    if resized and str(leaf.dtype) not in _RESIZABLE:
        rule = f"an image that is resized is {', '.join(_RESIZABLE)}"
        raise DataError(f"{stage}: field {field!r} holds {_leaf(leaf)}; {rule}")
    return leaf


def check_encoded(stage: str, spec: Mapping[str, Any], field: str) -> None:
    """Raise `DataError` if a field's spec is not that of encoded images."""
    leaf = field_of(stage, spec, field)
    dtype = np.dtype(leaf.dtype)
    as_array = dtype == np.uint8 and len(leaf.shape) == 1
    if not as_array and (dtype.kind not in "OS" or leaf.shape != ()):
        raise DataError(f"{stage}: field {field!r} holds {_leaf(leaf)}, {_NOT_ENCODED}")


def with_size(
    spec: Mapping[str, Any], field: str, size: tuple[int | None, int | None]
) -> dict[str, Any]:
    """Return the spec of records whose images have another height and width."""
    leaf = spec[field]
    return {**spec, field: LeafSpec((*size, leaf.shape[2]), leaf.dtype)}


_NO_IMAGE = (
    "not an image of shape (height, width, channels); decode-image makes one of encoded data"
)
_NOT_ENCODED = (
    "not an encoded image (bytes); if the source decodes images itself, leave decode-image out, or "
    "have the source give them encoded"
)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return f"a {type(value).__name__}"


def _leaf(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
