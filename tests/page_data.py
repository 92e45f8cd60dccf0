"""What the pages need to run, and what has to come of them: a generator function for each page.

Its name is the page's path with `_` for what is no letter or digit, such as `docs_files_md`. It is
called in the empty folder in which the page then runs; what follows its `yield` looks at the
outcome. `run.names` are the names of the page's Python, `run.served` the pipelines of its configs
with their batches.
"""

import io
import os
import pkgutil
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
from tests import pages
from tests.pages import ROOT, Run

import feedrace
from feedrace_testing.sample_files import (
    example_of,
    write_array_record,
    write_tar,
    write_tfrecord,
)

COUNT = 6  # records of each data set of the page on files
TEXTS = ["Feed the mill.", "Grüße", "A race is a channel."]


def jpeg(value: int) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (40, 50), (value, 0, 255 - value)).save(made, "JPEG")
    return made.getvalue()


def image_folder(root: Path) -> list[bytes]:
    """Write a folder of images of two classes."""
    images = [jpeg(40 * i) for i in range(COUNT)]
    for i, image in enumerate(images):
        path = root / ("cat", "dog")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return images


def records_in(batches: list) -> int:
    return sum(int(np.asarray(batch["valid_mask"]).sum()) for batch in batches)


def README_md(run: Run) -> Iterator[None]:  # noqa: N802
    image_folder(Path("photographs"))
    yield
    ((_, batches),) = run.served
    assert records_in(batches) == 10 * COUNT


def docs_start_md(run: Run) -> Iterator[None]:
    """A folder of photographs, and a plugin that is registered rather than installed."""
    image_folder(Path("photographs"))
    module = "my_brighter.config:MyBrighterConfig"
    feedrace.register("stage", "my-brighter", "my_brighter.my_brighter:MyBrighter", config=module)
    folder = os.path.abspath("my-brighter/src")  # is not there yet: sys.path would forget it

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return PathFinder.find_spec(name, [folder]) if name == "my_brighter" else None

    sys.meta_path.append(Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)
        for name in [name for name in sys.modules if name.startswith("my_brighter")]:
            del sys.modules[name]
    arrays, photographs, brighter = [batches for _, batches in run.served]
    assert records_in(arrays) == 2000
    assert np.asarray(arrays[0]["image"]).max() <= 1
    assert records_in(photographs) == 10 * COUNT
    assert photographs[0]["image"].shape == (32, 224, 224, 3)
    assert Path("photographs.html").stat().st_size > 10_000
    images = run.names["images"]
    assert np.array_equal(brighter[0]["image"], np.minimum(1.5 * images[:64], 255))
    assert run.names["batch"]["image"].shape == (64, 8, 8)
    assert run.names["step"].update == 4
    first = next(iter(run.names["pipeline"]))["image"]
    assert np.array_equal(first, brighter[0]["image"])


def docs_accelerators_md(run: Run) -> Iterator[None]:
    import jax
    import jax.numpy as jnp
    import optax
    import orbax.checkpoint as ocp
    from flax import nnx

    class Scale(nnx.Module):
        def __init__(self):
            self.factor = nnx.Param(jnp.float32(2))

        def __call__(self, batch):
            return {**batch, "x": batch["x"] * self.factor}

    data = {"x": np.ones((30, 4), np.float32), "y": np.ones((30, 1), np.float32)}
    pipeline = feedrace.Pipeline(
        source=feedrace.create("source", "memory", data=data), stages=[Scale()], batch_size=8
    )
    model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    with ocp.CheckpointManager(Path("saved").absolute()) as manager:
        run.names |= {"np": np, "jax": jax, "nnx": nnx, "ocp": ocp, "manager": manager, "step": 1}
        run.names |= {"pipeline": pipeline, "loss": lambda batch: batch["x"].mean(), "model": model}
        run.names["optimizer"] = nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)
        run.names["model_state"] = nnx.state(model)
        yield
        assert manager.latest_step() == 1
    length = run.names["Length"]()
    batch = length({"text": np.array(["a", None]), "valid_mask": np.array([True, True])})
    assert batch["length"].tolist() == [1, 0]
    assert run.names["losses"].shape == (4,)
    assert [float(leaf) for leaf in jax.tree.leaves(run.names["gradients"])] == [1.0]


def docs_arrow_md(run: Run) -> Iterator[None]:
    yield
    assert len(run.served) == 4 + pages.find_module("datasets")
    assert [records_in(batches) for _, batches in run.served] == [1000] * len(run.served)
    assert run.served[0][1][0]["tokens"].shape == (32, 16)


def docs_batchers_md(run: Run) -> Iterator[None]:
    yield
    assert run.names["mask"].shape == (2, 1, 8, 8)
    assert run.names["loss"] == 1


def docs_compose_md(run: Run) -> Iterator[None]:
    yield
    for pipeline, batches in run.served:
        windowed = pipeline.plans["train"].batches_per_pass is None
        assert len(batches) == (1 if windowed else len(pipeline))
    assert run.names["config"]["sampler"]["changes"][0]["at"] == 50
    assert len(list(run.names["pipeline"])) == 95


def docs_convert_md(run: Run) -> Iterator[None]:
    image_folder(Path("originals"))
    yield
    assert Path("photographs/feedrace.json").exists()
    assert Path("texts/feedrace.json").exists()
    assert Path("kept/part-00001.json").exists()


def docs_examples_feedrace_balanced_README_md(run: Run) -> Iterator[None]:  # noqa: N802
    """The example, which is not installed, and its config."""
    folder = ROOT / "docs/examples/feedrace-balanced"
    sys.path.append(str(folder / "src"))
    try:
        from feedrace_balanced.plugin import feedrace_components

        for component in feedrace_components():
            target, config = map(pkgutil.resolve_name, (component.target, component.config))
            feedrace.register(component.kind, component.name, target, config=config)
        shutil.copy(folder / "balanced.toml", "balanced.toml")
        yield
    finally:
        sys.path.remove(str(folder / "src"))


def docs_files_md(run: Run) -> Iterator[None]:
    """A folder of small files for each config of the page."""
    from feedrace_files import encoding

    root = Path("data")
    for name in ("text", "shards", "examples", "converted"):
        (root / name).mkdir(parents=True)
    (root / "text/a.txt").write_text("".join(f"line {i}\n" for i in range(COUNT)))
    images = image_folder(root / "images")
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
    os.environ["DATA"] = str(root)
    yield
    text, folder, tar, tfrecord, array_record = [batches for _, batches in run.served]
    tokens = np.concatenate([np.asarray(batch["tokens"]).ravel() for batch in text])
    assert bytes(tokens[tokens > 0].astype(np.uint8)).count(b"line ") == COUNT
    assert valid(folder, "label") == [0, 0, 0, 1, 1, 1]
    assert folder[0]["image"].shape == (2, 32, 32, 3)
    assert valid(tar, "cls") == list(range(COUNT))
    assert tar[0]["jpg"].shape == (2, 32, 32, 3)
    assert valid(tfrecord, "label") == list(range(COUNT))
    assert valid(array_record, "label") == list(range(COUNT))


def plugins_samplers_README_md(run: Run) -> Iterator[None]:  # noqa: N802
    run.names["records"] = list(range(1000))
    yield


def valid(batches: list, field: str) -> list:
    """Return a field of all records that are there, sorted."""
    return sorted(
        value.item()
        for batch in batches
        for value in np.asarray(batch[field])[np.asarray(batch["valid_mask"])]
    )


def docs_images_md(run: Run) -> Iterator[None]:
    yield
    assert run.names["batch"]["image"].shape == (4, 224, 224, 3)


def docs_plugins_md(run: Run) -> Iterator[None]:
    points = np.arange(30, dtype="<f4").reshape(10, 3)
    points[7, 1] = np.nan
    Path("points").mkdir()
    for i, part in enumerate(np.split(points, 2)):
        Path("points", f"{i}.points").write_bytes(part.tobytes())
    yield
    source, batch = run.names["source"], run.names["batch"]
    assert {key: values.tolist() for key, values in batch.items()} == {"x": [0, 6], "z": [2, 8]}
    batches = list(feedrace.Pipeline(source=source, batch_size=4))
    seen = np.concatenate([np.asarray(b["x"])[np.asarray(b["valid_mask"])] for b in batches])
    assert sorted(seen) == [0, 3, 6, 9, 12, 15, 18, 24, 27]
    (bad,) = source.bad_records
    assert (bad.number, bad.reason) == (7, "a coordinate is not a number")


def write_tokenizer(path: Path) -> Any:
    """Write and return one whose tokens are characters and <s>, which comes before each text."""
    import tokenizers

    characters = sorted(set("".join(TEXTS)))
    vocabulary = {"<s>": 0, **{c: i for i, c in enumerate(characters, 1)}}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    made.save(str(path))
    return made


def docs_text_md(run: Run) -> Iterator[None]:
    made = write_tokenizer(Path("tokenizer.json"))
    os.environ["MODEL"] = os.getcwd()
    yield
    (_, packed), (_, bucketed) = run.served
    texts = {
        bytes(np.asarray(row - 3, np.uint8)[(segments == n) & (row != 1)].tobytes()).decode()
        for batch in packed
        for row, segments in zip(
            np.asarray(batch["tokens"]), np.asarray(batch["tokens_segmentation"]), strict=True
        )
        for n in range(1, segments.max() + 1)
    }
    assert texts == set(TEXTS)
    rows = [
        np.asarray(ids)[np.asarray(mask)].tolist()
        for batch in bucketed
        for ids, mask, there in zip(
            batch["text"], batch["text_mask"], batch["valid_mask"], strict=True
        )
        if there
    ]
    assert sorted(rows) == sorted(made.encode(text).ids for text in TEXTS)
