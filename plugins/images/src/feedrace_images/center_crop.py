"""The stage that keeps the middle of an image."""

from typing import Any

from feedrace.plugin import Configured
from feedrace_images.config import CenterCropConfig
from feedrace_images.decode_image import DecodePart, fuse
from feedrace_images.records import image_of, image_spec, with_size
from feedrace_images.resampling import render
from feedrace_images.windows import Window, centered, whole

_NAME = "center-crop"


class CenterCrop(Configured):
    """The middle of each image; smaller images get a border of zeros, as torchvision gives them.

    After `decode-image`, or after `resize` or `random-resized-crop` that was fused with it, only
    the rows that are needed are decoded, and only what is left is resized.

    Raises `DataError` for a field that is missing or holds no image.
    """

    on = "record"
    antialias = False  # nothing is resized

    def __init__(self, config: CenterCropConfig) -> None:
        self.config = config

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the records that follow: images of the one size."""
        image_spec(_NAME, spec, self.config.field)
        return with_size(spec, self.config.field, self.config.size)

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the middle of the image."""
        image = image_of(_NAME, record, self.config.field)
        window = self.window(whole(image.shape[0], image.shape[1]))
        return {**record, self.config.field: render(image, window, antialias=False)}

    def window(self, window: Window, rng: Any = None) -> Window:
        """Return the middle of a window."""
        return centered(window, self.config.size)

    def fused(self, before: Any) -> Any:
        """Return one stage that decodes and crops, if `before` decodes, and resizes at most."""
        if isinstance(before, DecodePart):
            same = before.decode.config.field == self.config.field
            if not same or isinstance(before.views[-1], CenterCrop):  # its border is no window
                return None
            return DecodePart(before.decode, (*before.views, self))
        return fuse(before, self)
