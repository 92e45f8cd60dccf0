"""Rows of `compose.py` on caches: an epoch of photographs that are kept, of 224 pixels a side."""

import tempfile
import time
from pathlib import Path

import numpy as np
from host_work import SIDE, Encoded
from measure import QUICK, data_folder, report, take_turns

BATCH, EPOCHS, ROUNDS = 64, *((1, 2) if QUICK else (4, 7))
STAGES = [
    {"use": "decode-image"},
    {"use": "resize", "size": SIDE},
    {"use": "center-crop", "size": [SIDE, SIDE]},
]


def encoded():
    """Return the photographs of `host.py`, made if they are not there yet."""
    path = data_folder() / "photographs.bin"
    if not path.exists():
        import image_sets

        path.parent.mkdir(parents=True, exist_ok=True)
        image_sets.write_encoded(path)
    return Encoded(path)


def photographs():
    """An epoch from a cache, against the one that fills it and against gathering from its file."""
    import jax

    import feedrace

    data = encoded()
    blocks = EPOCHS * np.split(
        np.random.default_rng(0).permutation(len(data)), range(BATCH, len(data), BATCH)
    )

    def pipeline(folder, epochs):
        source = {"use": "cache", "source": {"use": "records", "data": data}, "stages": STAGES,
                  "directory": folder}  # fmt: skip
        sampler = {"use": "epoch-aware", "num_epochs": epochs}
        return feedrace.build(
            {"source": source, "batch_size": BATCH, "sampler": sampler, "seed": 0}
        )

    def an_epoch(batches, epochs=1, wait=jax.block_until_ready):
        began = time.perf_counter()
        for batch in batches:
            wait(batch)
        return (time.perf_counter() - began) / epochs

    def first():
        with tempfile.TemporaryDirectory(dir=data_folder()) as folder:
            return an_epoch(pipeline(folder, 1))

    with tempfile.TemporaryDirectory(dir=data_folder()) as folder:
        kept = pipeline(folder, EPOCHS)
        reader = kept.components()["source"][1].reader()
        an_epoch(kept)
        (path,) = Path(folder).glob("*/field-0")
        rows = np.memmap(path, np.uint8, "r", shape=(len(data), SIDE, SIDE, 3))
        ways = {
            "first": first,
            "kept": lambda: an_epoch(kept, EPOCHS),
            "put": lambda: an_epoch((jax.device_put(rows[block]) for block in blocks), EPOCHS),
            "read": lambda: an_epoch((reader.fetch(block) for block in blocks), EPOCHS, len),
            "bare": lambda: an_epoch((rows[block] for block in blocks), EPOCHS, len),
        }
        take_turns(ways, 1)
        found = take_turns(ways, ROUNDS)
    rates = {name: len(data) / np.median(seconds) for name, seconds in found.items()}

    def row(what, one, other, target):
        detail = f"{rates[one]:,.0f} against {rates[other]:,.0f} photographs/s"
        report(what, rates[one] / rates[other], target, detail)

    row("cached epoch of photographs against the first", "kept", "first", "5")
    row("cached photographs, read in batches, against a bare memmap gather", "read", "bare", "0.8")
    row(
        "cached epoch of photographs against a bare memmap gather put on the device",
        "kept",
        "put",
        "0.8",
    )
