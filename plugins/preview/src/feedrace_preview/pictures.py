"""Pictures for the page: images as PNG data, and drawings as SVG text."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE = 128  # pixels of a thumbnail's longer side
_DARK = 63  # 8-bit images with nothing above it are made brighter
_BINS = 24
_ENCODED = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF")  # JPEG, PNG, GIF, BMP, WebP
_MOST_TILES = 600  # marks of one strip


def is_image(value: NDArray[Any]) -> bool:
    """Return whether rows of a field look like images: height, width, and up to 4 channels."""
    if value.dtype == object:
        return (
            value.ndim == 1
            and len(value) > 0
            and all(
                is_image(one[None]) if isinstance(one, np.ndarray) else _is_encoded(one)
                for one in value
            )
        )
    shape = value.shape[1:]
    flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return bool(flat and min(shape[:2]) >= 8 and value.dtype.kind in "uif")


def thumbnails(value: NDArray[Any]) -> tuple[list[str], str]:
    """Return a data URI for each row of a field of images, and what was done to show them.

    Encoded images are decoded. 8-bit values are shown as they are if they are not all dark; others
    are spread from the lowest to the highest value of all rows.
    """
    rows = [_decoded(row) if isinstance(row, bytes) else np.asarray(row) for row in value]
    sized = [row for row in rows if row.size]
    if not sized:
        return [], ""
    wide = [np.nan_to_num(row.astype(np.float32)) for row in sized]
    low, high = min(float(row.min()) for row in wide), max(float(row.max()) for row in wide)
    if value.dtype == object or (rows[0].dtype == np.uint8 and high > _DARK):
        return [_picture(row) for row in rows], ""
    scale = 255 / ((high - low) or 1)
    bright = [((row - low) * scale).astype(np.uint8) for row in wide]
    return [_picture(row) for row in bright], f"from {low:.4g} (black) to {high:.4g} (white)"


def _is_encoded(value: Any) -> bool:
    return isinstance(value, bytes) and value.startswith(_ENCODED)


def _decoded(data: bytes) -> NDArray[Any]:
    """Return an encoded image as pixels; one that is damaged is a grey square."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError):
        return np.full((_SIDE, _SIDE), 128, np.uint8)


def _picture(row: NDArray[Any]) -> str:
    from PIL import Image

    if row.dtype != np.uint8:
        row = (np.clip(np.nan_to_num(row.astype(np.float32)), 0, 1) * 255).astype(np.uint8)
    if row.ndim == 3 and row.shape[2] == 1:
        row = row[:, :, 0]
    image = Image.fromarray(row)
    longest, kind = max(image.size), "png"
    if longest < 64:  # pixels stay visible
        scale = 64 // longest + 1
        size = (image.width * scale, image.height * scale)
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        image.thumbnail((_SIDE, _SIDE))
        if image.mode != "RGBA":
            kind = "jpeg"  # a tenth of the bytes of a photograph
    out = io.BytesIO()
    image.save(out, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def histogram(value: NDArray[Any]) -> str:
    """Return a histogram of numbers as SVG, with its ends in words; "" if there are none."""
    numbers = np.asarray(value, np.float64).reshape(-1)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return ""
    counts, edges = np.histogram(numbers, _BINS)
    width = 240 / len(counts)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{40 - 40 * n / counts.max():.1f}" '
        f'width="{width - 1:.1f}" height="{40 * n / counts.max():.1f}"/>'
        for i, n in enumerate(counts.tolist())
    )
    label = f"from {edges[0]:.4g} to {edges[-1]:.4g}, mean {numbers.mean():.4g}"
    return (
        f'<figure><svg viewBox="0 0 240 40" role="img" aria-label="histogram {label}">{bars}</svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )


def scatter(points: NDArray[np.int64]) -> str:
    """Return positions against records as SVG."""
    if not len(points):
        return ""
    high = np.maximum(points.max(axis=0), 1)
    places = points / high * (400, 180)
    side = min(6.0, max(1.0, 400 / len(points)))
    path = "".join(f"M{x:.1f} {180 - y:.1f}h{side:.1f}" for x, y in places.tolist())
    label = f"positions 0 to {high[0]:,} of the first epoch, records 0 to {high[1]:,}"
    return (
        f'<figure><svg viewBox="-2 -2 406 186" role="img" aria-label="{label}" class="scatter">'
        f'<path d="{path}"/></svg><figcaption>{label}</figcaption></figure>'
    )


def strip(steps: Sequence[tuple[str, int]], colours: Mapping[str, int]) -> str:
    """Return the first steps of a schedule as SVG, a row for each stream."""
    shown = steps[:: max(1, len(steps) // _MOST_TILES)] if len(steps) > _MOST_TILES else steps
    names = list(colours)
    width = 800 / max(len(shown), 1)
    tiles = "".join(
        f'<rect class="s{colours[name]}" x="{i * width:.2f}" y="{names.index(name) * 16}" '
        f'width="{max(width - 0.3, 0.6):.2f}" height="13"/>'
        for i, (name, _) in enumerate(shown)
    )
    return (
        f'<svg viewBox="0 0 800 {16 * len(names)}" class="strip" role="img" '
        f'aria-label="the first {len(steps):,} steps, by stream">{tiles}</svg>'
    )


def bars(seconds: Mapping[str, float]) -> str:
    """Return a bar for each part of the work, the longest first."""
    most = max(seconds.values(), default=1.0)
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><meter max=1 value={value / most:.3f}></meter></td>"
        f"<td class=number>{value:.3f} s</td></tr>"
        for name, value in sorted(seconds.items(), key=lambda item: -item[1])
    )
    return f"<table class=bars>{rows}</table>"
