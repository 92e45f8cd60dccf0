"""JPEGs, decoded only as far down and as finely as a window needs."""

import re
from typing import Any

import attrs
import numpy as np
import simplejpeg

from feedrace_images.records import Image
from feedrace_images.windows import MOST

START = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman codes
_NO_LENGTH = (0x01, *range(0xD0, 0xD9))
_END_OF_HEADERS = (0xD9, 0xDA)
_LEFT_OUT = re.compile(r"Corrupt JPEG data: \d+ extraneous bytes before marker")
_TOO_SHORT = "Premature end of JPEG file"
_CORRUPT = "Corrupt JPEG data"
_COLOURS = {1: "GRAY", 3: "RGB"}


@attrs.frozen
class Header:
    """The sizes in the headers of a JPEG.

    channels: 1 for grey, 3 for colours, 4 for the inks of CMYK.
    height_at: offset of its height in the data, and block: rows that are coded together; 0 if the
        data is not as plain as that its height could be changed.
    """

    height: int
    width: int
    channels: int
    height_at: int = 0
    block: int = 0


def read_header(data: bytes) -> Header:
    """Return the header of a JPEG; raise `ValueError` for one that libjpeg does not read."""
    header = _plain_header(data)
    if header is None:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        channels = {"Gray": 1, "CMYK": 4, "YCCK": 4}.get(colours, 3)
        header = Header(height, width, channels)
    if header.height * header.width > MOST:
        raise ValueError(f"its header says {header.height} x {header.width}, over {MOST:,} pixels")
    return header


def _plain_header(data: bytes) -> Header | None:
    """Return the header of a JPEG with one 8-bit frame and nothing between its segments."""
    at, last, found = 2, len(data) - 4, None
    while at < last:
        marker = data[at + 1]
        if data[at] != 0xFF or marker in _NO_LENGTH or marker == 0xFF:
            return None
        if marker in _END_OF_HEADERS:
            return found
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if found is not None or marker not in _FRAMES or len(data) < at + 20:
                return None
            found = _frame(data, at)
            if found is None:
                return None
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def _frame(data: bytes, at: int) -> Header | None:
    """Return what the frame header at an offset says, if it is of 8 bits and complete."""
    height, width = (data[at + i] << 8 | data[at + i + 1] for i in (5, 7))
    channels = data[at + 9]
    if data[at + 4] != 8 or not height or not width or len(data) < at + 10 + 3 * channels:
        return None
    down = max((data[at + 11 + 3 * i] & 15 for i in range(channels)), default=0)
    if channels not in (1, 3, 4) or not 1 <= down <= 4:
        return None
    return Header(height, width, channels, at + 5, 8 * down)


def decode_jpeg(
    data: bytes,
    header: Header,
    *,
    bottom: int | None = None,
    reduced: int = 1,
    channels: int,
    fast: bool,
    strict: bool,
) -> Image:
    """Return a JPEG as a uint8 array of shape (height, width, channels), by libjpeg-turbo.

    header: what `read_header` returns for it.
    bottom: rows below this one are left out; None decodes all. Some more may come.
    reduced: 1, 2, 4 or 8; the means of blocks of that size are decoded, which takes less time.

    Rows below `bottom` are never decoded: the height in the frame header is made smaller, and
    libjpeg skips what follows. All values that are returned are the same as in the whole image.

    Raises `ValueError` for a JPEG that ends too early or cannot be decoded, and, with `strict`, for
    one whose data is corrupt within the rows that are decoded.
    """
    height = header.height
    source: bytes | bytearray = data
    if bottom is not None and header.block:
        # Smoothed colours depend on the rows next to them.
        needed = bottom + (0 if fast else 2 * reduced)
        height = min(height, -(-needed // header.block) * header.block)
        if height < header.height:
            source = bytearray(data)
            source[header.height_at : header.height_at + 2] = height.to_bytes(2, "big")
    shape = -(-height // reduced), -(-header.width // reduced)
    out = np.empty((*shape, channels), np.uint8)
    options: dict[str, Any] = {
        "colorspace": _COLOURS[channels],
        "fastdct": fast,
        "fastupsample": fast,
        "buffer": out,
    }
    if reduced > 1:
        options |= {"min_height": shape[0], "min_width": shape[1], "min_factor": reduced}
    try:
        simplejpeg.decode_jpeg(source, **options)
    except ValueError as error:
        # libjpeg's first warning; it went on and filled `out`, unless it was about the headers.
        text = str(error)
        if height < header.height and _LEFT_OUT.match(text):
            return out
        if _TOO_SHORT in text or (strict and _CORRUPT in text and not _LEFT_OUT.match(text)):
            raise
        simplejpeg.decode_jpeg(source, strict=False, **options)
    return out
