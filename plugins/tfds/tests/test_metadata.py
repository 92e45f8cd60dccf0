"""Folders whose metadata are damaged, or name classes that nobody asked for."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from feedrace import create
from feedrace.errors import DataError


@pytest.fixture
def folder(digits, tmp_path):
    """A copy of the folder of one version of a dataset."""
    copy = tmp_path / "1.0.0"
    shutil.copytree(f"{digits['tfrecord']}/feedrace_digits/1.0.0", copy)
    return copy


def opened(folder, **fields):
    return create("source", "tfds-streaming", directory=str(folder), split="test", **fields)


def changed(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def set_shape(document, dimensions):
    document["featuresDict"]["features"]["image"]["image"]["shape"]["dimensions"] = dimensions


def set_index_shape(document, dimensions):
    tensor = document["featuresDict"]["features"]["index"]["tensor"]
    tensor["shape"]["dimensions"] = dimensions


def set_class(document, name, key="pythonClassName"):
    label = document["featuresDict"]["features"]["label"]
    del label["pythonClassName"]
    label[key] = name


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"x"', "\x00", "[" * 100_000, '{"splits": 3}',
             '{"featuresDict": 1, "name": 2}']
)  # fmt: skip
def test_damaged_metadata_are_an_error_with_the_name_of_the_file(folder, file, text):
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=rf"{file} is damaged \(.*; prepare the dataset again") as e:
        opened(folder)
    assert len(str(e.value)) < 1000


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("features.json", lambda d: set_shape(d, ["8", "-8", "1"]), "Unexpected shape"),
        ("features.json", lambda d: set_shape(d, [str(10**9)] * 3), "'image' has shape"),
        ("features.json", lambda d: set_index_shape(d, ["-8"]), "Unexpected shape"),
        ("features.json", lambda d: set_shape(d, ["x"]), ""),
        ("features.json", lambda d: d.pop("featuresDict"), ""),
        ("dataset_info.json", lambda d: d["splits"][1].update(shardLengths=["-8"]), "-8"),
        ("dataset_info.json", lambda d: d["splits"][1].update(shardLengths="x"), ""),
        ("dataset_info.json", lambda d: d.update(version="one"), ""),
        ("dataset_info.json", lambda d: d.update(fileFormat="paper"), ""),
        ("dataset_info.json", lambda d: d["splits"].append(5), ""),
    ],
)
def test_impossible_metadata_are_named_with_their_file(folder, file, change, message):
    changed(folder / file, change)
    with pytest.raises(DataError, match=rf"{file} is damaged \(.*{message}"):
        opened(folder)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_metadata_with_any_byte_changed_give_an_error_of_ours_or_none(folder, file):
    whole = (folder / file).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[place] = int(rng.integers(0, 256))
        (folder / file).write_bytes(damaged)
        try:
            opened(folder).fetch([0])
        except DataError:
            continue


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_a_pipe_in_place_of_metadata_is_named(folder, file):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(DataError, match=f"{file} is not a regular file"):
        opened(folder)


@pytest.fixture
def mesh(tmp_path, monkeypatch):
    """The name of a feature class of a module that notes when it is imported."""
    (tmp_path / "strange_module.py").write_text(
        "import tensorflow_datasets as tfds\nclass Mesh(tfds.features.ClassLabel): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "strange_module.Mesh"
    sys.modules.pop("strange_module", None)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_a_folder_cannot_have_a_module_imported(folder, mesh, key):
    changed(folder / "features.json", lambda d: set_class(d, mesh, key))
    message = r"features\.json names the Python class 'strange_module\.Mesh'.* trusted_features"
    with pytest.raises(DataError, match=message):
        opened(folder)
    assert "strange_module" not in sys.modules


def test_a_folder_of_an_old_version_cannot_either(folder, mesh):
    (folder / "features.json").write_text(json.dumps({"type": mesh, "content": {}}))
    with pytest.raises(DataError, match="names the Python class 'strange_module"):
        opened(folder)
    assert "strange_module" not in sys.modules


def test_a_class_that_is_trusted_by_name_is_imported(folder, mesh):
    changed(folder / "features.json", lambda d: set_class(d, mesh))
    with pytest.raises(DataError, match="names the Python class"):
        opened(folder, trusted_features=["strange_module.Mash"])
    made = opened(folder, trusted_features=[mesh], exclude_keys=["label"])
    assert len(made) == 360
    assert "strange_module" in sys.modules


def test_features_of_an_installed_plugin_are_taken(folder, mesh, monkeypatch):
    from types import SimpleNamespace

    from feedrace_tfds import metadata

    changed(folder / "features.json", lambda d: set_class(d, mesh))
    plugin = SimpleNamespace(value="strange_module.plugin")
    monkeypatch.setattr(metadata, "_plugins", lambda: [plugin])
    assert len(opened(folder, exclude_keys=["label"])) == 360
