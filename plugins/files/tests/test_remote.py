"""The sources read the same records at an address as on this machine."""

import itertools
import pickle

import numpy as np
import pytest

from feedrace import create
from feedrace.errors import DataError
from feedrace_testing.sample_files import (
    example_of,
    grey_image,
    write_array_record,
    write_tar,
    write_tfrecord,
)

fsspec = pytest.importorskip("fsspec")

COUNT = 9
FEATURES = {"label": "int64", "tokens": {"dtype": "int32", "shape": [-1]}}
EXAMPLES = [example_of(label=[i], tokens=[*range(i)]) for i in range(COUNT)]


def text_lines(folder):
    for part in range(3):
        (folder / f"{part}.txt").write_text("".join(f"{part} {i}\n" for i in range(COUNT)))


def image_folder(folder):
    for i in range(COUNT):
        (folder / f"class-{i % 2}").mkdir(exist_ok=True)
        (folder / f"class-{i % 2}" / f"{i}.pgm").write_bytes(grey_image(i))
    rows = "".join(f"class-{i % 2}/{i}.pgm,label {i % 3}\n" for i in range(COUNT))
    (folder / "labels.csv").write_text("file,label\n" + rows)


def tar(folder):
    images = [(f"{i}.bin", bytes([i]) * 700 * i) for i in range(COUNT)]
    labels = [(f"{i}.cls", b"%d" % i) for i in range(COUNT)]
    for part in range(2):
        write_tar(folder / f"{part}.tar", itertools.chain(*zip(images, labels, strict=True)))


def tfrecord(folder):
    write_tfrecord(folder / "a.tfrecord", EXAMPLES)


def array_record(folder):
    write_array_record(folder / "a.array_record", EXAMPLES, "group_size:2")
    write_array_record(folder / "b.array_record", EXAMPLES)


FORMATS = {
    "text-lines": (text_lines, {}),
    "image-folder": (image_folder, {"labels": "labels.csv"}),
    "tar": (tar, {}),
    "tfrecord": (tfrecord, {"features": FEATURES}),
    "array-record": (array_record, {"features": FEATURES}),
}


@pytest.fixture(params=FORMATS)
def places(request, tmp_path):
    """A source, a folder with its files, and an address with the same ones."""
    name, folder = request.param, tmp_path / "data"
    folder.mkdir()
    FORMATS[name][0](folder)
    store = fsspec.filesystem("memory")
    store.put(str(folder), f"/{name}", recursive=True)
    yield name, str(folder), f"memory://{name}"
    store.rm(f"/{name}", recursive=True)


def plain(records):
    return {
        name: [np.asarray(value).tolist() for value in values] for name, values in records.items()
    }


def test_records_at_an_address_are_those_of_the_files(places):
    name, folder, address = places
    here, there = (create("source", name, path=p, **FORMATS[name][1]) for p in (folder, address))
    assert len(here) == len(there)
    numbers = np.random.default_rng(0).permutation(len(here))
    wanted = plain(here.fetch(numbers))
    assert plain(there.fetch(numbers)) == wanted
    assert plain(pickle.loads(pickle.dumps(there.reader())).fetch(numbers)) == wanted
    if name == "image-folder":
        assert there.classes == here.classes == ("label 0", "label 1", "label 2")


def test_a_file_that_changes_at_an_address_is_another_identity_and_an_error(places):
    name, _, address = places
    source = create("source", name, path=address, cache_bytes=0, **FORMATS[name][1])
    before = source.identity()
    store = fsspec.filesystem("memory")
    for path in store.find(f"/{name}"):
        store.pipe_file(path, store.cat_file(path))  # written anew
    with pytest.raises(DataError, match="changed"):
        source.fetch(np.arange(len(source)))
    assert create("source", name, path=address, **FORMATS[name][1]).identity() != before


def test_an_address_without_files_is_an_error(places):
    name, _, address = places
    with pytest.raises(DataError, match="nothing"):
        create("source", name, path=f"{address}/nothing", **FORMATS[name][1])
