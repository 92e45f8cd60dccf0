"""PNGs of every kind but the plain ones of 8 bits, which `images` decodes by libspng.

Not by libpng through imagecodecs: each damaged image costs it a reference to None.
"""

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_GREY_ALPHA, _COLOUR_ALPHA, _COLOUR = 4, 6, 2  # colour types
# Where the passes of an interlaced image begin, and their steps, from the PNG specification.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def decode_png(encoded: bytes) -> NDArray[Any]:
    """Return the image as it is: (height, width, samples), uint8 or uint16, alpha as the last.

    Palettes are looked up, and fewer than 8 bits scaled up. Raises `ValueError`, `RuntimeError` or
    `OSError` for a damaged image.
    """
    import imagecodecs
    from PIL import Image

    depth, colour = _checked(encoded)
    if depth == 16 and colour == _COLOUR_ALPHA:
        return np.asarray(imagecodecs.spng_decode(encoded))
    if depth == 16 and colour == _GREY_ALPHA:
        # libspng's wrapper lacks this kind; to a filter it looks like colour and alpha of 8 bits.
        header = b"IHDR" + encoded[16:24] + bytes([8, _COLOUR_ALPHA]) + encoded[26:29]
        alike = encoded[:12] + header + zlib.crc32(header).to_bytes(4, "big") + encoded[33:]
        pairs = imagecodecs.spng_decode(alike).view(">u2")
        return np.asarray(pairs, np.uint16)
    array: NDArray[Any]
    with Image.open(io.BytesIO(encoded)) as image:
        transparent = image.info.get("transparency")
        if depth == 16 and colour == _COLOUR:
            low = _low_bytes(encoded)
            array = np.asarray(image, np.uint16) << 8 | low
        elif image.mode == "P":
            return np.asarray(image.convert("RGB" if transparent is None else "RGBA"))
        elif depth == 16:
            array = np.asarray(image, np.uint16)[..., None]
        else:
            array = np.asarray(image.convert("L") if image.mode == "1" else image)
            array = array if array.ndim == 3 else array[..., None]
    if transparent is None:
        return array
    if 1 < depth < 8:
        transparent = transparent * 255 // (2**depth - 1)
    most = np.iinfo(array.dtype).max
    clear = (array == np.asarray(transparent)).all(axis=-1, keepdims=True)
    return np.concatenate([array, np.where(clear, 0, most).astype(array.dtype)], axis=-1)


def _low_bytes(encoded: bytes) -> NDArray[np.uint8]:
    """Return the low bytes of colours of 16 bits, of which Pillow keeps the high ones."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        image.tile = [one._replace(args="RGB;16L") for one in image.tile]  # big end read as little
        return np.asarray(image)


def _checked(encoded: bytes) -> tuple[int, int]:
    """Return the depth and colour type of an image that is whole.

    Raises `ValueError` if a chunk or its checksum is damaged, or if pixels are missing.
    """
    at, kind, packed = 8, b"", b""
    while kind != b"IEND":
        size, kind = int.from_bytes(encoded[at : at + 4], "big"), encoded[at + 4 : at + 8]
        end = at + size + 12
        stored = int.from_bytes(encoded[end - 4 : end], "big")
        if end > len(encoded) or zlib.crc32(encoded[at + 4 : end - 4]) != stored:
            raise ValueError(f"the PNG is cut short or damaged at byte {at}")
        if kind == b"IDAT":
            packed += encoded[at + 8 : end - 4]
        at = end
    width, height = (int.from_bytes(encoded[i : i + 4], "big") for i in (16, 20))
    depth, colour, interlaced = encoded[24], encoded[25], encoded[28]
    if colour not in _SAMPLES or encoded[12:16] != b"IHDR":
        raise ValueError("the header of the PNG is damaged")
    bits, needed = depth * _SAMPLES[colour], 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0:
            needed += max(0, rows) * (1 + (columns * bits + 7) // 8)
    inflating = zlib.decompressobj()
    try:
        held = len(inflating.decompress(packed, needed)) if needed else 0
    except zlib.error as error:
        raise ValueError(f"the pixels of the PNG are damaged ({error})") from error
    if held < needed or not needed:
        raise ValueError("the PNG lacks pixels")
    return depth, colour
