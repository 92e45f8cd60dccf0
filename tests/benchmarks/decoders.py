"""Ways to decode, crop and resize photographs, against the bare calls of simplejpeg and OpenCV.

`--libturbojpeg FILE` adds libjpeg-turbo's own partial decoding, from a shared library of version 3.
pyvips is measured if it is installed. Processor time of one thread, median of alternating rounds.
"""

import argparse
import ctypes
import io
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import simplejpeg
from measure import QUICK, quick_option, report
from PIL import Image

from feedrace_images import (
    DecodeImage,
    DecodeImageConfig,
    RandomResizedCrop,
    RandomResizedCropConfig,
)
from feedrace_images.windows import whole

SIDE, COUNT, ROUNDS = 224, 100 if QUICK else 300, 3 if QUICK else 7
cv2.setNumThreads(1)


def photographs(count):
    """JPEGs of 200 to 700 pixels a side, quality 90, from scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        original = originals[i % len(originals)]
        width, height = (int(side) for side in rng.integers(200, 701, 2))
        share = rng.uniform(0.5, 1)
        wide, tall = original.width * share, original.height * share
        left, top = rng.uniform(0, original.width - wide), rng.uniform(0, original.height - tall)
        box = (left, top, left + wide, top + tall)
        file = io.BytesIO()
        resized = original.resize((width, height), Image.Resampling.BICUBIC, box)
        resized.save(file, "JPEG", quality=90)
        made.append((file.getvalue(), height, width))
    return made


class Numbers:
    """Random numbers by image, as a pipeline gives them: one generator, set anew for each."""

    def __init__(self):
        self.bits = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.bits)
        self.state = self.bits.state

    def of(self, i):
        self.state["state"]["counter"][2] = i
        self.bits.state = self.state
        return self.generator


def crop_stage(**config):
    return RandomResizedCrop(RandomResizedCropConfig(size=(SIDE, SIDE), **config))


def windows(images):
    """The part of each image that the stage takes with the generator of its number."""
    stage, numbers, boxes = crop_stage(), Numbers(), []
    for i, (_, height, width) in enumerate(images):
        window = stage.window(whole(height, width), numbers.of(i))
        boxes.append((window.top, window.left, window.height, window.width))
    return boxes


def resized(image, box):
    top, left, height, width = box
    return cv2.resize(image[top : top + height, left : left + width], (SIDE, SIDE))


def bare(data, box, i):
    return resized(simplejpeg.decode_jpeg(data), box)


def bare_fast(data, box, i):
    return resized(simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True), box)


def scale(box):
    """The largest of 1, 2, 4 and 8 by which the part shrinks and stays large enough."""
    return max((m for m in (1, 2, 4, 8) if min(box[2:]) // m >= SIDE), default=1)


def opencv(data, box, i):
    return resized(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), box)


def opencv_reduced(data, box, i):
    m = scale(box)
    mode = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2}
    mode |= {4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode[m])
    return resized(image, tuple(side // m for side in box))


def pillow(data, box, i):
    top, left, height, width = box
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (image.width // scale(box), image.height // scale(box)))
        m = scale(box) if image.width * image.height else 1
        part = [side / m for side in (left, top, left + width, top + height)]
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, part))


def pyvips_crop(data, box, i):
    import pyvips

    top, left, height, width = box
    image = pyvips.Image.new_from_buffer(data, "", access="sequential")
    part = np.asarray(image.crop(left, top, width, height))
    return cv2.resize(part, (SIDE, SIDE))


class Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class Factor(ctypes.Structure):
    _fields_ = [("num", ctypes.c_int), ("denom", ctypes.c_int)]


class TurboJpeg:
    """Partial decoding with libjpeg-turbo 3: whole rows of blocks, and blocks of columns."""

    def __init__(self, file):
        library = self.library = ctypes.CDLL(file)
        pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        library.tj3Init.restype = pointer
        library.tj3DecompressHeader.argtypes = [pointer, ctypes.c_char_p, size]
        library.tj3Get.argtypes = [pointer, number]
        library.tj3Set.argtypes = [pointer, number, number]
        library.tj3SetScalingFactor.argtypes = [pointer, Factor]
        library.tj3SetCroppingRegion.argtypes = [pointer, Region]
        library.tj3Decompress8.argtypes = [pointer, ctypes.c_char_p, size, pointer, number, number]
        self.handle = library.tj3Init(1)

    def __call__(self, data, box, i, fast=False):
        library, handle = self.library, self.handle
        for parameter in (9, 10):  # plain upsampling, fast DCT
            library.tj3Set(handle, parameter, int(fast))
        library.tj3SetCroppingRegion(handle, Region(0, 0, 0, 0))
        library.tj3SetScalingFactor(handle, Factor(1, 1))
        assert library.tj3DecompressHeader(handle, data, len(data)) == 0
        m = scale(box)
        assert library.tj3SetScalingFactor(handle, Factor(1, m)) == 0
        top, left = box[0] // m, box[1] // m
        bottom, right = (box[0] + box[2]) // m, (box[1] + box[3]) // m
        start = left // 16 * 16  # these photographs have blocks of 16 x 16
        region = Region(start, top, right - start, bottom - top)
        assert library.tj3SetCroppingRegion(handle, region) == 0
        out = np.empty((bottom - top, right - start, 3), np.uint8)
        code = library.tj3Decompress8(handle, data, len(data), out.ctypes.data, 0, 0)
        assert code == 0
        return cv2.resize(out[:, left - start :], (SIDE, SIDE))


class Fused:
    def __init__(self, decode, crop):
        self.stage, self.numbers = crop.fused(decode), Numbers()

    def __call__(self, data, box, i):
        return self.stage({"image": data}, self.numbers.of(i))["image"]


class Separate:
    def __init__(self, decode, crop):
        self.decode, self.crop, self.numbers = decode, crop, Numbers()

    def __call__(self, data, box, i):
        return self.crop(self.decode({"image": data}), self.numbers.of(i))["image"]


def work(name, function, images, boxes):
    for i, ((data, _, _), box) in enumerate(zip(images, boxes, strict=True)):
        made = function(data, box, i)
        assert made.shape == (SIDE, SIDE, 3), name


def main():
    parser = argparse.ArgumentParser()
    quick_option(parser)
    parser.add_argument("--libturbojpeg")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    images = photographs(COUNT)
    boxes = windows(images)
    fast, accurate = DecodeImage(), DecodeImage(DecodeImageConfig(fast=False))
    crop, filtered = crop_stage(), crop_stage(antialias=True)
    ways = {
        "simplejpeg, OpenCV: the bare calls": bare,
        "the same, fast DCT and plain upsampling": bare_fast,
        "OpenCV alone": opencv,
        "OpenCV alone, reduced modes": opencv_reduced,
        "Pillow alone, draft mode": pillow,
    }
    try:
        import pyvips
    except ImportError:
        print("(pyvips is not installed and not measured)")
    else:
        pyvips.cache_set_max(0)
        ways["pyvips (sequential crop), OpenCV"] = pyvips_crop
    if given.libturbojpeg:
        turbo = TurboJpeg(given.libturbojpeg)
        ways["libjpeg-turbo 3 (cropping region), OpenCV"] = turbo
        ways["the same, fast DCT and plain upsampling "] = partial(turbo, fast=True)
    else:
        print("(libjpeg-turbo's cropping region is not measured: no --libturbojpeg FILE)")
    ways |= {
        "feedrace, not fused": Separate(fast, crop),
        "feedrace, not fused, fast = false": Separate(accurate, crop),
        "feedrace, fused": Fused(fast, crop),
        "feedrace, fused, fast = false": Fused(accurate, crop),
        "feedrace, fused, antialias = true": Fused(fast, filtered),
    }
    seconds = {name: [] for name in ways}
    for name, function in ways.items():
        work(name, function, images[:20], boxes[:20])
    for _ in range(given.rounds):
        for name, function in ways.items():
            began = time.process_time()
            work(name, function, images, boxes)
            seconds[name].append(time.process_time() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = next(iter(medians.values()))
    print("| way | images/s | by the bare calls |\n| --- | ---: | ---: |")
    for name, median in medians.items():
        print(f"| {name.strip()} | {COUNT / median:,.0f} | {base / median:.2f} |")
        if name.startswith("feedrace"):
            what = f"{name.removeprefix('feedrace, ')}, against the bare calls"
            report(what, base / median, "none", f"{COUNT / median:,.0f} images/s")
    side_by_side(images, boxes, given.rounds)


held = []


def _hold(images, boxes):
    held[:] = images, boxes


def _half(number, fused):
    """Work on every second image that this process holds."""
    function = Fused(DecodeImage(), crop_stage()) if fused else bare
    for i in range(number, len(held[0]), 2):
        function(held[0][i][0], held[1][i], i)


def side_by_side(images, boxes, rounds):
    """Print what two threads and two processes get done, by the clock."""
    _hold(images, boxes)
    spawn = multiprocessing.get_context("spawn")
    seconds = {}
    with (
        ProcessPoolExecutor(2, spawn, _hold, (images, boxes)) as processes,
        ThreadPoolExecutor(2) as threads,
    ):
        ways = {
            "bare calls, two processes": (processes, False),
            "fused, two processes": (processes, True),
            "bare calls, two threads": (threads, False),
            "fused, two threads": (threads, True),
        }
        for count in range(rounds + 1):
            for name, (pool, fused) in ways.items():
                began = time.perf_counter()
                list(pool.map(_half, (0, 1), (fused, fused)))
                if count:  # the first starts the processes
                    seconds.setdefault(name, []).append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"({name}: {len(images) / median:,.0f} images/s)")
    for ours in ("fused, two processes", "fused, two threads"):
        detail = f"{len(images) / medians[ours]:,.0f} images/s"
        report(f"{ours}, against bare calls in two processes", base / medians[ours], "none", detail)


if __name__ == "__main__":
    main()
