"""The stage that decodes images, alone or with the stages after it that cut and resize them."""

import io
import math
from typing import Any

import attrs
import cv2
import numpy as np

from feedrace.plugin import Configured, DataError, LeafSpec
from feedrace_images import jpeg
from feedrace_images.config import DecodeImageConfig
from feedrace_images.records import Image, check_encoded, encoded_of
from feedrace_images.resampling import blocks, render
from feedrace_images.windows import Window, whole

_PNG = b"\x89PNG\r\n\x1a\n"
_MODES = {1: "L", 3: "RGB"}
_PNG_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
    3: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
}
_NAME = "decode-image"


class DecodeImage(Configured):
    """Encoded images as uint8 arrays of shape (height, width, channels).

    JPEG by libjpeg-turbo, PNG of up to 8 bits by OpenCV, other formats by Pillow. Of 16 bits the
    high byte is kept; transparency and the orientation in EXIF data are ignored. Decoding releases
    Python's lock.

    Raises `DataError` for a field that is missing, holds no encoded image, or a damaged one.
    """

    on = "record"

    def __init__(self, config: DecodeImageConfig | None = None) -> None:
        self.config = config or DecodeImageConfig()

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the decoded records: height and width vary."""
        check_encoded(_NAME, spec, self.config.field)
        leaf = LeafSpec((None, None, self.config.channels), np.dtype(np.uint8))
        return {**spec, self.config.field: leaf}

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with the image decoded."""
        data = encoded_of(_NAME, record, self.config.field)
        return {**record, self.config.field: self._tried(data, self._whole, data)}

    def part(self, record: dict[str, Any], views: tuple[Any, ...], rng: Any = None) -> Image:
        """Return what stages that take windows make of the image; only what they need is decoded.

        views: each with `window(window, rng)` and `antialias`; only the first may resize.
        """
        data = encoded_of(_NAME, record, self.config.field)
        antialias = views[0].antialias
        header = None
        if data[:3] == jpeg.START:
            header = self._tried(data, jpeg.read_header, data)
        if header is None or header.channels == 4:
            image = self._tried(data, self._whole, data)
            window = _seen(image.shape[0], image.shape[1], views, rng)
            return render(image, window, antialias=antialias)
        window = _seen(header.height, header.width, views, rng)
        reduced = _reduced(window, antialias)
        rows = blocks(window)[0]
        image = self._tried(
            data,
            jpeg.decode_jpeg,
            data,
            header,
            bottom=math.ceil((window.top + window.height) / rows) * rows,
            reduced=reduced,
            channels=self.config.channels,
            fast=self.config.fast,
            strict=self.config.strict,
        )
        if reduced > 1:
            window = attrs.evolve(
                window,
                top=window.top / reduced,
                left=window.left / reduced,
                height=window.height / reduced,
                width=window.width / reduced,
            )
        return render(image, window, antialias=antialias)

    def _whole(self, data: bytes) -> Image:
        channels = self.config.channels
        if data[:3] == jpeg.START:
            header = jpeg.read_header(data)
            if header.channels != 4:
                options = {"fast": self.config.fast, "strict": self.config.strict}
                return jpeg.decode_jpeg(data, header, channels=channels, **options)
        elif data[:8] == _PNG and len(data) > 24 and data[24] <= 8:
            image: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), _PNG_FLAGS[channels])
            if image is not None:
                return image.reshape(*image.shape[:2], channels)
        return _by_pillow(data, channels)

    def _tried(self, data: bytes, function: Any, *arguments: Any, **options: Any) -> Any:
        """Return what a function makes of the data; raise `DataError` if it is damaged."""
        try:
            return function(*arguments, **options)
        except Exception as error:
            kind = (
                "a JPEG" if data[:3] == jpeg.START else "a PNG" if data[:8] == _PNG else "an image"
            )
            found = f"field {self.config.field!r} holds {kind} of {len(data):,} bytes"
            why = str(error).partition(" <_io.BytesIO")[0]  # an address, which Pillow adds
            message = f"{_NAME}: {found} that cannot be decoded: {why}"
            raise DataError(message) from error


@attrs.frozen(eq=False)
class DecodePart:
    """Decodes images and cuts and resizes them in one go: a stage in place of several.

    views: the stages after `decode`, the first of which may resize and draw random numbers.
    """

    decode: DecodeImage
    views: tuple[Any, ...]
    on = "record"

    @property
    def stochastic(self) -> bool:
        """Whether the first view draws random numbers."""
        return bool(getattr(self.views[0], "stochastic", False))

    def spec(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the spec of the records after all of these stages."""
        for stage in (self.decode, *self.views):
            spec = stage.spec(spec)
        return spec

    def __call__(self, record: dict[str, Any], rng: Any = None) -> dict[str, Any]:
        """Return the record with the part of the image."""
        return {**record, self.decode.config.field: self.decode.part(record, self.views, rng)}


def fuse(before: Any, view: Any) -> DecodePart | None:
    """Return one stage for a view and `before`, if that decodes the same field; None if not."""
    if isinstance(before, DecodeImage) and before.config.field == view.config.field:
        return DecodePart(before, (view,))
    return None


def _seen(height: int, width: int, views: tuple[Any, ...], rng: Any) -> Window:
    window = whole(height, width)
    for view in views:
        window = view.window(window, rng)
    return window


def _reduced(window: Window, antialias: bool) -> int:
    """Return by how much a JPEG can be reduced while it is decoded: 1, 2, 4 or 8.

    A filter for antialiasing gets twice the pixels of its result, so that it still weighs them.
    """
    if antialias:
        height, width = window.size
        window = attrs.evolve(window, size=(2 * height, 2 * width))
    return min(*blocks(window), 8)


def _by_pillow(data: bytes, channels: int) -> Image:
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):  # Pillow would clip these to 255
            grey = (np.asarray(image) >> 8).astype(np.uint8)[..., None]
            return np.repeat(grey, channels, axis=2)
        values = np.asarray(image.convert(_MODES[channels]))
    return values.reshape(*values.shape[:2], channels)
