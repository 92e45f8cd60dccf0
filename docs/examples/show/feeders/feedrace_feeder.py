"""Feedrace: the source `image-folder`, and record stages by name."""

import sys
from pathlib import Path

import emulated
import jax
import numpy as np

import feedrace

PACKAGES = ("feedrace", "jax", "simplejpeg", "opencv-python-headless")
HOW = {
    kind: '`image-folder`, `epoch-aware`, `decode-image`, `random-resized-crop`; '
    f'`workers = {{ kind = "{kind}", count = CORES }}`'
    for kind in ("thread", "process")
}  # fmt: skip


def photographs(folder, cores, kind, batch_size=emulated.BATCH):
    """Return the pipeline; the label of a photograph is its number."""
    return feedrace.Pipeline(
        source={
            "use": "image-folder",
            "path": str(folder),
            "labels": "labels.csv",
            "columns": ["image", "label"],
            "cache_dir": str(Path(folder).with_name("kept")),
        },
        sampler={"use": "epoch-aware", "num_epochs": 100_000},
        stages=[
            {"use": "decode-image"},
            {"use": "random-resized-crop", "size": [emulated.SIDE, emulated.SIDE]},
        ],
        workers={"kind": kind, "count": cores},
        batch_size=batch_size,
        seed=0,
    )


def batches(folder, cores, kind):
    for batch in photographs(folder, cores, kind):
        yield np.asarray(jax.block_until_ready(batch)["label"])


if __name__ == "__main__":
    emulated.main(sys.modules["__main__"])
