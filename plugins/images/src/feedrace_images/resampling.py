"""Bringing a part of an image to another size."""

import math
from typing import Any

import cv2
import numpy as np

from feedrace_images.records import Image
from feedrace_images.windows import Window

# Workers run several records at a time; threads of OpenCV's own would only compete with them.
cv2.setNumThreads(1)


def render(image: Image, window: Window, *, antialias: bool) -> Image:
    """Return what a window shows of an image; a view of it if nothing has to be computed.

    With `antialias`, by Pillow's bilinear filter, whose support grows as an image shrinks; it
    weighs all pixels, as torchvision's resize does. Without it, an image is first reduced by the
    means of `blocks`, and then interpolated between neighbours.
    """
    part = _exact(image, window)
    if part is None:
        resample = _filtered if antialias else _interpolated
        part = resample(image, window).reshape(*window.size, image.shape[2])
    if any(window.border):
        above, below, before, after = window.border
        part = np.pad(part, ((above, below), (before, after), (0, 0)))
    return part


def blocks(window: Window) -> tuple[int, int]:
    """Return height and width of the blocks whose means stand for the pixels of a window.

    They are the largest powers of two that leave as many blocks as the result has pixels. Both are
    the same unless an image shrinks four times as much along one axis: blocks that are not square
    take OpenCV eight times as long.
    """
    ratios = int(window.height / window.size[0]), int(window.width / window.size[1])
    down, across = (1 << max(0, ratio.bit_length() - 1) for ratio in ratios)
    both = min(down, across)
    return down if down >= 4 * both else both, across if across >= 4 * both else both


def _exact(image: Image, window: Window) -> Image | None:
    """Return the part if it keeps its size and lies on whole pixels."""
    height, width = window.size
    if (window.height, window.width) != (height, width):
        return None
    if window.top != int(window.top) or window.left != int(window.left):
        return None
    top, left = int(window.top), int(window.left)
    return image[top : top + height, left : left + width]


def _cut(
    image: Image, window: Window, down: int = 1, across: int = 1
) -> tuple[Image, float, float]:
    """Return the blocks of `down` x `across` pixels that a window touches, and where it begins.

    Blocks are counted from the image's own corner, so that they are those of a reduced JPEG.
    """
    top, left = int(window.top // down) * down, int(window.left // across) * across
    bottom = math.ceil((window.top + window.height) / down - 1e-6) * down
    right = math.ceil((window.left + window.width) / across - 1e-6) * across
    return image[top:bottom, left:right], window.top - top, window.left - left


def _interpolated(image: Image, window: Window) -> Image:
    height, width = window.height, window.width
    down, across = blocks(window)
    part, top, left = _cut(image, window, down, across)
    if down > 1 or across > 1:
        rows, columns = -(-part.shape[0] // down), -(-part.shape[1] // across)
        below, right = rows * down - part.shape[0], columns * across - part.shape[1]
        if below or right:
            part = cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE)
        part = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
        part = part.reshape(rows, columns, -1)
        top, left, height, width = top / down, left / across, height / down, width / across
    rows, columns = window.size
    if (top, left) == (0, 0) and (height, width) == part.shape[:2]:
        made: Image = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR)
    else:  # the centre of pixel j of the result lies at (j + 0.5) * step of the window
        step_y, step_x = height / rows, width / columns
        matrix = np.array(
            [[step_x, 0, left + step_x / 2 - 0.5], [0, step_y, top + step_y / 2 - 0.5]]
        )
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        made = cv2.warpAffine(part, matrix, (columns, rows), flags=flags, borderMode=border)
    return made


def _filtered(image: Image, window: Window) -> Image:
    from PIL import Image as Pillow

    part, top, left = _cut(image, window)
    rows, columns = window.size
    box = (
        left,
        top,
        min(left + window.width, part.shape[1]),
        min(top + window.height, part.shape[0]),
    )

    def resized(values: Any) -> Image:
        made = Pillow.fromarray(np.ascontiguousarray(values))
        return np.asarray(made.resize((columns, rows), Pillow.Resampling.BILINEAR, box))

    if image.dtype == np.uint8 and image.shape[2] == 3:
        return resized(part)
    planes = np.moveaxis(part, 2, 0)
    if image.dtype == np.uint8:
        return np.stack([resized(plane) for plane in planes], axis=2)
    made = np.stack([resized(plane.astype(np.float32)) for plane in planes], axis=2)
    return made if image.dtype == np.float32 else np.rint(made).astype(image.dtype)
