"""The examples of the interface run as they are written, imports apart."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import flax.nnx as nnx
import jax
import jax.numpy as jnp
from feedrace import Pipeline, prefetch_to_device
from feedrace_tfds import (
    TFDSEagerConfig, TFDSEagerSource, TFDSStreamingConfig, TFDSStreamingSource, from_tfds,
)

seen = []
process = lambda *values: seen.append([value.shape for value in values])
trained = []
train_step = lambda batch: trained.append(batch["image"].shape)

# Quick start
config = TFDSEagerConfig(name="mnist", split="train")
source = TFDSEagerSource(config, rngs=nnx.Rngs(0))
for item in source:
    image = item["image"]  # JAX array, shape (28, 28, 1)
    label = item["label"]  # JAX array, scalar
    process(image, label)
assert seen == [[(28, 28, 1), ()]] * 200
assert isinstance(image, jax.Array) and isinstance(label, jax.Array)

# Supervised mode
config = TFDSEagerConfig(
    name="cifar10",
    split="train",
    as_supervised=True,  # Returns {"image": ..., "label": ...}
)
source = TFDSEagerSource(config)
batch = source.get_batch(32)
images = batch["image"]  # Shape: (32, 32, 32, 3)
labels = batch["label"]  # Shape: (32,)
assert (images.shape, labels.shape, set(batch)) == ((32, 32, 32, 3), (32,), {"image", "label"})

# Batch retrieval
for step in range(10):
    batch = source.get_batch(64)
    loss = train_step(batch)
    print(f"Epoch {source.epoch.get_value()}, "
          f"Index {source.index.get_value()}")
assert (source.epoch.get_value(), source.index.get_value()) == divmod(32 + 640, 200)

# Shuffling
config = TFDSEagerConfig(
    name="imagenet2012",
    split="train",
    shuffle=True,
    shuffle_buffer_size=10000,
    seed=42,
)
source = TFDSEagerSource(config, rngs=nnx.Rngs(42))
order = [int(item["file_name"].removesuffix(b".JPEG")) for item in source]
assert sorted(order) == list(range(200)) and order != sorted(order)

# Caching
config = TFDSEagerConfig(
    name="mnist",
    split="train",
    cacheable=True,  # Cache in memory after first epoch
)
source = TFDSEagerSource(config)

# Custom data directory
import os
config = TFDSEagerConfig(
    name="imagenet2012",
    split="train",
    data_dir=os.environ["TFDS_DATA_DIR"],
)
source = TFDSEagerSource(config)

# Field filtering
config = TFDSEagerConfig(
    name="coco/2017",
    split="train",
    include_keys={"image", "objects"},  # Only these fields
)
item = next(iter(TFDSEagerSource(config)))
assert (set(item), set(item["objects"]) >= {"bbox", "label"}) == ({"image", "objects"}, True)
config = TFDSEagerConfig(
    name="mnist",
    split="train",
    exclude_keys={"id"},
)
assert set(TFDSEagerSource(config).element_spec()) == {"image", "label"}

# Integration with pipelines
normalize_op = lambda batch: {**batch, "image": batch["image"].astype(jnp.float32) / 255}
augment_op = lambda batch: {**batch, "image": batch["image"][:, :, ::-1]}
config = TFDSEagerConfig(
    name="cifar10",
    split="train",
    as_supervised=True,
)
source = TFDSEagerSource(config)
pipeline = (
    Pipeline(source=source, stages=[normalize_op, augment_op], batch_size=128, rngs=nnx.Rngs(0)))
trained.clear()
for batch in pipeline:
    train_step(batch)
assert trained == [(128, 32, 32, 3)] * 2

# Dataset information
info = source.get_dataset_info()
print(f"Description: {info.description}")
print(f"Features: {info.features}")
print(f"Splits: {list(info.splits.keys())}")
print(f"Citation: {info.citation}")
print(f"Train examples: {info.splits['train'].num_examples}")

# The eager source's own
config = TFDSEagerConfig(name="mnist", split="train", shuffle=True)
source = TFDSEagerSource(config, rngs=nnx.Rngs(0))
for item in source:
    process(item["image"])
batch = source.get_batch(32)  # Stateful
batch = source.get_batch(32, key=jax.random.key(0))  # Stateless
again = source.get_batch(32, key=jax.random.key(0))
assert (batch["label"] == again["label"]).all()
assert source.name == "TFDSEagerSource(mnist:train)"

# A record stage gives images of any size one size
class Corner:
    on = "record"
    def __call__(self, record):
        return {"image": record["image"][:16, :16], "label": record["label"]}
    def spec(self, spec):
        return {"image": jax.ShapeDtypeStruct((16, 16, 3), jnp.uint8), "label": spec["label"]}
source = TFDSEagerSource(TFDSEagerConfig(name="imagenet2012", split="train"))
assert not source.on_device
pipeline = Pipeline(source=source, stages=[Corner()], batch_size=50)
assert [batch["image"].shape for batch in pipeline] == [(50, 16, 16, 3)] * 4

# The streaming source's own
config = TFDSStreamingConfig(name="imagenet2012", split="train")
source = TFDSStreamingSource(config, rngs=nnx.Rngs(0))
trained.clear()
for batch in prefetch_to_device(source, size=2):
    train_step(batch)
assert (len(trained), len(set(trained))) == (200, 15)  # images of all their sizes
assert source.length == 200 and source.get_batch(7)["image"].shape == (7,)

# The factory
source = from_tfds("mnist", "train", shuffle=True, rngs=nnx.Rngs(0))
assert isinstance(source, TFDSEagerSource)
"""


def test_the_interface_s_examples_run_as_written(prepared):
    folder = prepared / "stand_ins"
    if not (folder / "coco").exists():
        pytest.importorskip("tensorflow", reason="preparing needs TensorFlow")
        sys.path.insert(0, str(Path(__file__).parent))
        from stand_ins import prepare

        prepare(folder)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TFDS_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Train examples: 200" in done.stdout
