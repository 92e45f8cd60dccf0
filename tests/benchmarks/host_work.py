"""The work of the host path's benchmark, done alike by all contenders: numpy, simplejpeg, OpenCV.

Worker processes of several contenders import this, so it imports nothing large.
"""

import functools
import math
import os
import time

import numpy as np

SIDE = 224  # of a cropped and resized photograph


class Encoded:
    """JPEGs by number, read from a file of them; the least that reading a record can cost."""

    def __init__(self, path):
        self.path = path
        self._stops = np.load(f"{path}.stops.npy")

    def __len__(self):
        return len(self._stops) - 1

    @functools.cached_property
    def _file(self):
        return os.open(self.path, os.O_RDONLY)

    def __getstate__(self):
        return {name: self.__dict__[name] for name in ("path", "_stops")}

    def __getitem__(self, i):
        start, stop = self._stops[i : i + 2].tolist()
        return {"image": os.pread(self._file, stop - start, start), "id": np.int32(i)}


class Numbers:
    """Records that are just a number."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, i):
        return {"id": np.int32(i)}


def crop_box(height, width, rng):
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


def decode_crop_resize(data, rng, out=None):
    """Return a random part of a photograph, 224 x 224 x 3 as uint8."""
    decode, resize = _libraries()
    image = decode(data, "RGB", fastdct=True, fastupsample=True)
    top, left, height, width = crop_box(*image.shape[:2], rng)
    return resize(image[top : top + height, left : left + width], (SIDE, SIDE), dst=out)


def photograph(record, rng):
    """The record stage of a photograph."""
    return {"image": decode_crop_resize(record["image"], rng), "id": record["id"]}


def spin(rounds):
    """Do a given amount of work in pure Python."""
    total = 0
    for i in range(rounds):
        total += i
    return total


def rounds_of_a_millisecond():
    """Return how many rounds of `spin` take 1 ms while nothing else runs."""
    best = 1e9
    for _ in range(200):
        began = time.perf_counter()
        spin(20_000)
        best = min(best, time.perf_counter() - began)
    return round(20_000 * 1e-3 / best)


class Busy:
    """A record stage that computes in pure Python for about 1 ms."""

    def __init__(self, rounds):
        self.rounds = rounds

    def __call__(self, record):
        spin(self.rounds)
        return record


class Worked:
    """A dataset of torch that does a record's work."""

    def __init__(self, records, work):
        self.records, self.work = records, work

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        return self.work(self.records[i])


class WithRandomNumbers(Worked):
    """A dataset of torch that does a record's work with random numbers of its own."""

    @functools.cached_property
    def _rng(self):
        return np.random.default_rng()

    def __getitem__(self, i):
        return self.work(self.records[i], self._rng)


class MadeReader:
    """Reads records that cost nothing to make: the same few rows, with their numbers."""

    def __init__(self, shape, dtype):
        self._rows = np.arange(4 * math.prod(shape)).astype(dtype).reshape(4, *shape)

    def fetch(self, indices):
        return {"x": self._rows[indices % 4], "id": indices.astype(np.int32)}


class Made:
    """A source of records that cost nothing to make: `x` of a shape and dtype, and a number."""

    def __init__(self, count, shape, dtype):
        self._count, self._shape, self._dtype = count, shape, np.dtype(dtype)

    def __len__(self):
        return self._count

    def element_spec(self):
        from feedrace.plugin import LeafSpec

        return {"x": LeafSpec(self._shape, self._dtype), "id": LeafSpec((), np.dtype(np.int32))}

    def reader(self):
        return MadeReader(self._shape, self._dtype)

    def fetch(self, indices):
        return self.reader().fetch(indices)
