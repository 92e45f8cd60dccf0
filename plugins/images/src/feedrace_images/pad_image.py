"""The stage that pads images to one size."""

from typing import Any

import numpy as np

from feedrace.plugin import Configured, DataError, LeafSpec
from feedrace_images.config import PadImageConfig
from feedrace_images.records import image_of, image_spec, with_size

_NAME = "pad-image"


class PadImage(Configured):
    """Images in the upper left corner of one size, and a field with their own height and width.

    The new field is int32 of shape (2,).

    Raises `DataError` for a field that is missing or holds no image, and for an image that is
    larger than the size.
    """

    on = "record"

    def __init__(self, config: PadImageConfig) -> None:
        self.config = config

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the records that follow: images of the one size, and the new field."""
        field, new = self.config.field, self.config.size_field
        leaf = image_spec(_NAME, spec, field)
        if new in spec:
            raise DataError(f"{_NAME}: the record has a field {new!r} already; change size_field")
        value, dtype = self.config.value, np.dtype(leaf.dtype)
        if dtype.kind in "biu":
            low, high = (0, 1) if dtype.kind == "b" else _bounds(dtype)
            if value != int(value) or not low <= value <= high:
                raise DataError(f"{_NAME}: value {value} is not one that {dtype} holds")
        self._check(leaf.shape[0], leaf.shape[1])
        size = LeafSpec((2,), np.dtype(np.int32))
        return {**with_size(spec, field, self.config.size), new: size}

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the image padded."""
        image = image_of(_NAME, record, self.config.field)
        height, width, channels = image.shape
        self._check(height, width)
        padded = np.empty((*self.config.size, channels), image.dtype)
        padded[:height, :width] = image
        padded[height:] = padded[:height, width:] = self.config.value
        size = np.array([height, width], np.int32)
        return {**record, self.config.field: padded, self.config.size_field: size}

    def _check(self, height: int | None, width: int | None) -> None:
        most_height, most_width = self.config.size
        if (height or 0) > most_height or (width or 0) > most_width:
            raise DataError(
                f"{_NAME}: an image of {height} x {width} does not fit into {most_height} x "
                f"{most_width}; raise size, or put resize before"
            )


def _bounds(dtype: Any) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
