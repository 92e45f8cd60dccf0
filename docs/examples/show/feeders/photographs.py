"""The work on a photograph that grain and torch call: simplejpeg decodes, OpenCV resizes.

As a program, it does this work alone, in one process: python photographs.py FOLDER
"""

import functools
import math
import sys
import time

import emulated
import numpy as np


def random_resized_crop(path, rng):
    """Return a random part of a photograph, 224 x 224 x 3 as uint8."""
    decode, resize = _libraries()
    with open(path, "rb") as file:
        image = decode(file.read(), "RGB", fastdct=True, fastupsample=True)
    top, left, height, width = box(*image.shape[:2], rng)
    part = image[top : top + height, left : left + width]
    return resize(part, (emulated.SIDE, emulated.SIDE))


def box(height, width, rng):
    """Return top, left, height, width of a random part, drawn as torchvision draws it."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


@functools.cache
def _libraries():
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    return simplejpeg.decode_jpeg, cv2.resize


def main():
    paths, rng = emulated.paths_of(sys.argv[1]), np.random.default_rng(0)
    for path in paths[: emulated.BATCH]:
        random_resized_crop(path, rng)
    began = time.perf_counter()
    for path in paths:
        random_resized_crop(path, rng)
    print(len(paths) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
