"""The stage that cuts a random part out of an image and brings it to one size."""

import math
from typing import Any

from feedrace.plugin import Configured
from feedrace_images.config import RandomResizedCropConfig
from feedrace_images.decode_image import fuse
from feedrace_images.records import image_of, image_spec, with_size
from feedrace_images.resampling import render
from feedrace_images.windows import Window, whole

_NAME = "random-resized-crop"
_TRIES = 10


class RandomResizedCrop(Configured):
    """A random part of each image, resized to one size.

    The part has a random share of the area and a random ratio of its sides, as torchvision's
    RandomResizedCrop draws them (Szegedy et al., 2015): after ten draws that do not fit, it is the
    largest middle part whose ratio is within bounds. After `decode-image`, only that part of a JPEG
    is decoded.

    Raises `DataError` for a field that is missing or holds no image.
    """

    on = "record"
    stochastic = True

    def __init__(self, config: RandomResizedCropConfig) -> None:
        self.config = config
        self.antialias = config.antialias

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the records that follow: images of the one size."""
        image_spec(_NAME, spec, self.config.field, resized=True)
        return with_size(spec, self.config.field, self.config.size)

    def __call__(self, record: dict[str, Any], rng: Any) -> dict[str, Any]:
        """Return the record with the part; `rng` is a numpy Generator."""
        image = image_of(_NAME, record, self.config.field)
        window = self.window(whole(image.shape[0], image.shape[1]), rng)
        return {**record, self.config.field: render(image, window, antialias=self.antialias)}

    def window(self, window: Window, rng: Any) -> Window:
        """Return a random window of an image that `window` shows whole."""
        rows, columns = window.size
        top, left, height, width = _part(rows, columns, self.config.scale, self.config.ratio, rng)
        return Window(top, left, height, width, self.config.size)

    def fused(self, before: Any) -> Any:
        """Return one stage that decodes and crops, if `before` decodes."""
        return fuse(before, self)


def _part(
    rows: int, columns: int, scale: tuple[float, float], ratio: tuple[float, float], rng: Any
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random part."""
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_TRIES):
        area = rows * columns * (scale[0] + rng.random() * (scale[1] - scale[0]))
        aspect = math.exp(low + rng.random() * (high - low))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = int(rng.random() * (rows - height + 1)), rng.random()
            return top, int(left * (columns - width + 1)), height, width
    height, width = rows, columns
    if columns < ratio[0] * rows:
        height = max(1, round(columns / ratio[0]))
    elif columns > ratio[1] * rows:
        width = max(1, round(rows * ratio[1]))
    return (rows - height) // 2, (columns - width) // 2, height, width
