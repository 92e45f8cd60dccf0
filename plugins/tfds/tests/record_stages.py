"""Stages on records for tests; worker processes import this file."""

import numpy as np

import feedrace
from feedrace.plugin import LeafSpec
from feedrace_tfds.images import decode_image


@feedrace.record(spec={"image": LeafSpec((8, 8, 1), np.dtype(np.uint8))})
def opened(record):
    return {**record, "image": decode_image(record["image"], 1, np.uint8)}
