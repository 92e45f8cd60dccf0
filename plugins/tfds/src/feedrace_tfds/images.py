"""Encoded images to arrays, with the values that TensorFlow's decoders give."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from feedrace_tfds.png import decode_png

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels to what a PNG header calls it
_COLOUR_SPACES = {1: "GRAY", 3: "RGB"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def image_decoder(images: Any) -> Callable[[int, bytes], None]:
    """Return a function that decodes an image into a row of an array, as `decode_image` does.

    images: array of shape (number, height, width, channels).

    PNGs of 8 bits and as many channels, and JPEGs, the most frequent, are written in place, without
    Python's global lock. The function also raises `ValueError` for an image of another shape.
    """
    import imagecodecs

    shape, dtype = images.shape[1:], images.dtype
    height, width, channels = shape
    rows = images[..., 0] if channels == 1 else images
    header = b""  # of a PNG that can be decoded in place
    colours = ""  # of a JPEG that can
    if dtype == np.uint8:
        sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        header = b"IHDR" + sizes + bytes([8, _COLOUR_TYPES[channels]])
        colours = _COLOUR_SPACES.get(channels, "")
    decode_png = imagecodecs.spng_decode

    def decode(slot: int, encoded: bytes) -> None:
        if encoded[12:26] == header:
            decode_png(encoded, out=rows[slot])
            return
        out = images[slot]
        if colours and encoded[:3] == _JPEG:
            made = _jpeg(encoded, colours, out)
        else:
            made = decode_image(encoded, channels, dtype)
        if made.shape != shape:
            raise ValueError(f"an image is of shape {made.shape}, not {shape}")
        if made is not out:
            out[...] = made

    return decode


def decode_image(encoded: bytes, channels: int, dtype: Any) -> Any:
    """Return an image as an array of shape (height, width, channels).

    encoded: a PNG, a JPEG, or another format that Pillow reads.
    dtype: uint8; uint16, for PNG; float32, stored as the four bytes of each value.

    JPEG is decoded by libjpeg-turbo with the fast integer DCT, as TensorFlow decodes by default.
    Raises `ValueError` or `RuntimeError` for a damaged image, and for one of another shape.
    """
    import imagecodecs

    dtype = np.dtype(dtype)
    if dtype == np.float32:
        return decode_image(encoded, 4, np.uint8).view(np.float32)
    if encoded[:3] == _JPEG and dtype == np.uint8 and channels in _COLOUR_SPACES:
        return _jpeg(encoded, _COLOUR_SPACES[channels])
    if encoded[:8] != _PNG:
        return _pillow(encoded, channels, dtype)
    plain = encoded[24:26] == bytes([8, _COLOUR_TYPES.get(channels, 255)])
    if plain and dtype == np.uint8:
        image = imagecodecs.spng_decode(encoded)
    else:
        image = _with_channels(decode_png(encoded), channels)
    image = image if image.ndim == 3 else image[..., None]
    if image.dtype == dtype:
        return image
    # Between 8 and 16 bits TensorFlow keeps the high byte, or repeats the byte.
    return (image >> 8).astype(np.uint8) if dtype == np.uint8 else image.astype(np.uint16) * 257


def _jpeg(encoded: bytes, colorspace: str, out: Any = None) -> Any:
    """Return an image, which is `out` if it has that array's shape."""
    import simplejpeg

    try:
        image = simplejpeg.decode_jpeg(encoded, colorspace, True, buffer=out)
    except ValueError as error:
        # TensorFlow, too, ignores what libjpeg warns of, such as stray bytes between segments.
        if "Premature end of JPEG file" in str(error) or "buffer" in str(error):
            raise
        image = simplejpeg.decode_jpeg(encoded, colorspace, True, buffer=out, strict=False)
    return image if out is None or image.shape != out.shape else out


def _with_channels(image: Any, channels: int) -> Any:
    """Return a grey or colour image, with or without alpha, with this number of channels."""
    if image.shape[-1] == channels:
        return image
    most = np.iinfo(image.dtype).max
    has_alpha = image.shape[-1] in (2, 4)
    colour, alpha = (image[..., :-1], image[..., -1:]) if has_alpha else (image, None)
    if channels in (3, 4):
        colour = np.broadcast_to(colour, (*image.shape[:2], 3))
    elif colour.shape[-1] == 3:
        weights = np.array([9798, 19235, 3735])  # of 32768, as TensorFlow has libpng weigh colours
        colour = (colour @ weights >> 15).astype(image.dtype)[..., None]
    if channels == 4:
        alpha = np.full_like(image[..., :1], most) if alpha is None else alpha
        return np.concatenate([colour, alpha], axis=-1)
    return np.ascontiguousarray(colour)


def _pillow(encoded: bytes, channels: int, dtype: Any) -> Any:
    from PIL import Image

    if dtype != np.uint8:
        raise ValueError(f"the image is not a PNG; images of {dtype} must be")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            array = np.asarray(image.convert(_MODES[channels]))
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    return array if array.ndim == 3 else array[..., None]
