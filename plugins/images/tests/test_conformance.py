"""The stages on records pass the suite that plugin authors use."""

import io

import numpy as np
from PIL import Image

from feedrace_testing import RecordStageSuite


def encoded():
    file = io.BytesIO()
    Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50).convert("RGB").save(file, "JPEG")
    return file.getvalue()


class TestDecodeImage(RecordStageSuite):
    component = "decode-image"
    record = {"image": encoded(), "label": np.int32(3)}


class _Images(RecordStageSuite):
    record = {
        "image": np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8),
        "label": np.int32(3),
    }
    spec = {"image": ((None, None, 3), np.uint8)}


class TestRandomResizedCrop(_Images):
    component = "random-resized-crop"
    config = {"size": [8, 9]}


class TestResize(_Images):
    component = "resize"
    config = {"size": 12, "antialias": True}


class TestCenterCrop(_Images):
    component = "center-crop"
    config = {"size": [8, 50]}


class TestRandomFlip(_Images):
    component = "random-flip"


class TestPadImage(_Images):
    component = "pad-image"
    config = {"size": [30, 50]}
