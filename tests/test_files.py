"""Files in batches: the configs of the page on files run, with workers of every kind."""

import io
import re
from pathlib import Path

import numpy as np
import pytest

import feedrace
from feedrace_testing.sample_files import (
    example_of,
    write_array_record,
    write_tar,
    write_tfrecord,
)

ROOT = Path(__file__).parents[1]
COUNT = 6


def jpeg(value):
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (40, 50), (value, 0, 255 - value)).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of small files for each config of the page."""
    from feedrace_files import encoding

    root = tmp_path_factory.mktemp("data")
    for name in ("text", "images/cat", "images/dog", "shards", "examples", "converted"):
        (root / name).mkdir(parents=True)
    (root / "text/a.txt").write_text("".join(f"line {i}\n" for i in range(COUNT)))
    images = [jpeg(40 * i) for i in range(COUNT)]
    for i, image in enumerate(images):
        (root / f"images/{('cat', 'dog')[i % 2]}/{i}.jpg").write_bytes(image)
    pairs = [((f"{i}.jpg", image), (f"{i}.cls", b"%d" % i)) for i, image in enumerate(images)]
    write_tar(root / "shards/a.tar", [file for pair in pairs for file in pair])
    examples = [example_of(label=[i], box=[0.5] * 4, tokens=[*range(i)]) for i in range(COUNT)]
    write_tfrecord(root / "examples/a.tfrecord", examples)
    fields = (encoding.Field(("label",), "int64", ()),)
    encode = encoding.Encoder(fields)
    records = [encode({"label": np.int64(i)}) for i in range(COUNT)]
    write_array_record(root / "converted/a.array_record", records)
    shards = (encoding.Shard("a.array_record", COUNT, 0, ""),)
    document = encoding.Document(
        storage="array-record", records=COUNT, left_out=0, made_from="", bytes=0, digest="",
        fields=fields, shards=shards,
    )  # fmt: skip
    (root / "converted" / encoding.SIDECAR).write_bytes(encoding.write_document(document))
    return root


@pytest.fixture
def configs(data, tmp_path, monkeypatch):
    """The paths of the page's configs, by source."""
    monkeypatch.setenv("DATA", str(data))
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))
    paths = {}
    for block in re.findall(r"```toml\n(.*?)```", (ROOT / "docs/files.md").read_text(), re.DOTALL):
        name = re.search(r'\[source\]\nuse = "(.*)"', block)[1]
        paths[name] = tmp_path / f"{name}.toml"
        paths[name].write_text(block)
    return paths


def valid(batches, field):
    """Return a field of all records that are there, sorted."""
    return sorted(
        value.item()
        for batch in batches
        for value in np.asarray(batch[field])[np.asarray(batch["valid_mask"])]
    )


@pytest.mark.parametrize("workers", ["0", '{ kind = "process", count = 1 }'])
def test_the_configs_of_the_page_run(configs, workers):
    assert len(configs) == 5
    found = {}
    for name, path in configs.items():
        path.write_text(f"workers = {workers}\n{path.read_text()}")
        found[name] = list(feedrace.load(path))
    tokens = np.concatenate([np.asarray(b["tokens"]).ravel() for b in found["text-lines"]])
    assert bytes(tokens[tokens > 0].astype(np.uint8)).count(b"line ") == COUNT
    assert valid(found["image-folder"], "label") == [0, 0, 0, 1, 1, 1]
    assert found["image-folder"][0]["image"].shape == (2, 32, 32, 3)
    assert valid(found["tar"], "cls") == list(range(COUNT))
    assert found["tar"][0]["jpg"].shape == (2, 32, 32, 3)
    assert valid(found["tfrecord"], "label") == list(range(COUNT))
    assert valid(found["array-record"], "label") == list(range(COUNT))
