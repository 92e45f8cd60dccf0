"""Damaged data set folders: each is refused with a `FeedraceError`, or gives the same records."""

import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from damage import cut, flipped, removed

import feedrace
import feedrace_tfds  # noqa: F401 (what is attacked; the family is left out without it)
from feedrace.errors import FeedraceError

NAME = "feedrace_digits"
MOST_TEXT = 20_000
ODD = [None, -1, 0, 3, 2**70, "", "x", "../x", [], {}, ["-5"], "1e9", True]


@functools.cache
def good():
    """Return the folder of the data set that is damaged, prepared if it is not there yet."""
    root = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    feedrace.create("source", "tfds-streaming", name=NAME, split="train", data_dir=str(root))
    return next((root / NAME).iterdir())


def read(root):
    """Return all records of the data set below a folder, as bytes by field."""
    source = feedrace.create(
        "source", "tfds-streaming", name=NAME, split="train[:64]", data_dir=str(root),
        local_files_only=True, seed=1,
    )  # fmt: skip
    records = source.fetch(np.arange(len(source)))
    return {name: [np.asarray(row).tobytes() for row in value] for name, value in records.items()}


@functools.cache
def whole():
    return read(good().parents[1])


def attack(rng):
    expected = whole()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        target = root / NAME / good().name
        shutil.copytree(good(), target)
        os.environ["FEEDRACE_CACHE_DIR"] = str(Path(folder) / "cache")
        files = sorted(target.iterdir())
        file = rng.choice(files)
        how = rng.choice([flipped, cut, grown, edited, removed])
        how(rng, file)
        kind = "records" if "tfrecord" in file.name else file.name
        try:
            got = read(root)
        except (FeedraceError, OSError) as error:
            assert len(str(error)) < MOST_TEXT
            return f"{kind} {how.__name__}: {type(error).__name__}"
        if "tfrecord" in file.name:
            assert got == expected, f"{how.__name__} {file.name}: other records without an error"
        return f"{kind} {how.__name__}: read"


def grown(rng, file):
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 40)))


def edited(rng, file):
    """Replace one value of a JSON file, or some bytes of any other."""
    if file.suffix != ".json":
        flipped(rng, file)
        return
    document = json.loads(file.read_text())
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        place[key] = rng.choice(ODD)
        break
    file.write_text(json.dumps(document))
