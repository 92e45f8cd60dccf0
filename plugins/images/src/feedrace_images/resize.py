"""The stage that brings images to a size."""

from typing import Any

from feedrace.plugin import Configured, DataError
from feedrace_images.config import ResizeConfig
from feedrace_images.decode_image import fuse
from feedrace_images.records import image_of, image_spec, with_size
from feedrace_images.resampling import render
from feedrace_images.windows import MOST, Size, Window, whole

_NAME = "resize"


class Resize(Configured):
    """Images brought to a height and width, or to a length of their shorter side.

    After `decode-image`, a JPEG is decoded no finer than its size asks for.

    Raises `DataError` for a field that is missing or holds no image, and for one so narrow that its
    longer side would become too long.
    """

    on = "record"

    def __init__(self, config: ResizeConfig) -> None:
        self.config = config
        self.antialias = config.antialias

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the records that follow."""
        leaf = image_spec(_NAME, spec, self.config.field, resized=True)
        size = self.config.size
        if isinstance(size, tuple):
            return with_size(spec, self.config.field, size)
        height, width = leaf.shape[:2]
        known = height is not None and width is not None
        made = _by_shorter_side(height, width, size) if known else (None, None)
        return with_size(spec, self.config.field, made)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the image resized."""
        image = image_of(_NAME, record, self.config.field)
        window = self.window(whole(image.shape[0], image.shape[1]))
        return {**record, self.config.field: render(image, window, antialias=self.antialias)}

    def window(self, window: Window, rng: Any = None) -> Window:
        """Return the window of the same part and another size."""
        size = self.config.size
        if not isinstance(size, tuple):
            size = _by_shorter_side(*window.size, size)
        if size[0] * size[1] > MOST:
            height, width = window.size
            message = f"an image of {height} x {width} would become {size[0]} x {size[1]}"
            raise DataError(f"{_NAME}: {message}; give [height, width], or crop it before")
        return Window(window.top, window.left, window.height, window.width, size)

    def fused(self, before: Any) -> Any:
        """Return one stage that decodes and resizes, if `before` decodes."""
        return fuse(before, self)


def _by_shorter_side(height: int, width: int, side: int) -> Size:
    if height <= width:
        return side, side * width // height
    return side * height // width, side
