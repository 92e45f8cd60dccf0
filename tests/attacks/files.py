"""Damaged files of every format: an error, bad records that are named, or the same records."""

import functools
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
from damage import cut, flipped, removed

import feedrace
import feedrace_files  # noqa: F401 (what is attacked; the family is left out without it)
from feedrace.errors import FeedraceError
from feedrace_testing.sample_files import (
    example_of,
    grey_image,
    write_array_record,
    write_tar,
    write_tfrecord,
)

MOST_TEXT = 20_000
COUNT = 24
FEATURES = {"label": "int64", "tokens": {"dtype": "int32", "shape": [-1]}}
EXAMPLES = [example_of(label=[i], tokens=[*range(i)]) for i in range(COUNT)]


def text_lines(folder):
    (folder / "a.txt").write_bytes(b"".join(b"line %d \xc3\xbc\r\n" % i for i in range(COUNT)))


def image_folder(folder):
    for i in range(COUNT):
        (folder / f"class-{i % 3}").mkdir(exist_ok=True)
        (folder / f"class-{i % 3}" / f"{i}.pgm").write_bytes(grey_image(i))
    rows = "".join(f"class-{i % 3}/{i}.pgm,{i}\n" for i in range(COUNT))
    (folder / "labels.csv").write_text("file,label\n" + rows)


def tar(folder):
    images = [(f"{i}.bin", b"x" * i) for i in range(COUNT)]
    labels = [(f"{i}.cls", b"%d" % i) for i in range(COUNT)]
    write_tar(folder / "a.tar", itertools.chain(*zip(images, labels, strict=True)))


def tfrecord(folder):
    write_tfrecord(folder / "a.tfrecord", EXAMPLES)


def array_record(folder):
    write_array_record(folder / "a.array_record", EXAMPLES, "group_size:5")


# For each format: what writes it, fields of its config, and whether a changed byte is noticed.
FORMATS = {
    "text-lines": (text_lines, {}, False),
    "image-folder": (image_folder, {"labels": "labels.csv"}, False),
    "tar": (tar, {}, False),
    "tfrecord": (tfrecord, {"features": FEATURES}, True),
    "array-record": (array_record, {"features": FEATURES}, True),
}


def read(folder, name, on_error):
    """Return the records of a source, a dict each, without those that are bad, and all numbers."""
    source = feedrace.create(
        "source", name, path=str(folder), on_error=on_error, error_budget=1.0, **FORMATS[name][1]
    )
    numbers = np.arange(len(source))
    reader = source.reader()
    records = reader.fetch(numbers)
    good = np.flatnonzero(~reader.invalid_rows(numbers))
    bad = {record.number for record in reader.noted()}
    if on_error == "skip":
        assert set(good) | bad == set(numbers.tolist()) and not set(good) & bad
    return [
        {field: np.asarray(values[row]).tolist() for field, values in records.items()}
        for row in good.tolist()
    ]


@functools.cache
def whole(name):
    with tempfile.TemporaryDirectory() as folder:
        FORMATS[name][0](Path(folder))
        return read(Path(folder), name, "raise")


def attack(rng):
    name = rng.choice(sorted(FORMATS))
    write, _, checked = FORMATS[name]
    on_error = rng.choice(["raise", "skip", "substitute"])
    how = rng.choice([flipped, cut, grown, replaced, removed])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        folder.mkdir()
        os.environ["FEEDRACE_CACHE_DIR"] = str(Path(scratch) / "cache")
        expected = whole(name)
        write(folder)
        if rng.random() < 0.5:
            read(folder, name, "raise")  # so that a table of the good file is kept
        how(rng, rng.choice(sorted(path for path in folder.rglob("*") if path.is_file())))
        try:
            got = read(folder, name, on_error)
        except (FeedraceError, OSError) as error:
            assert len(str(error)) < MOST_TEXT
            return f"{name} {how.__name__}, {on_error}: {type(error).__name__}"
        if checked:
            strange = [record for record in got if record not in expected]
            assert not strange, f"{how.__name__}: records that were never written: {strange[:3]}"
        return f"{name} {how.__name__}, {on_error}: read"


def grown(rng, file):
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 2000)))


def replaced(rng, file):
    """Swap two parts of a file, so that samples lose their halves."""
    data = file.read_bytes()
    size = min(512, max(1, len(data) // 3))
    a, b = (size * rng.randrange(max(1, len(data) // size)) for _ in range(2))
    parts = bytearray(data)
    parts[a : a + size], parts[b : b + size] = data[b : b + size], data[a : a + size]
    file.write_bytes(parts)
