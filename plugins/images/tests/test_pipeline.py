"""The stages in a pipeline: the same batches from any workers, and errors that name the record."""

import io
import pickle

import jax
import numpy as np
import pytest
from PIL import Image

import feedrace
from feedrace.plugin import DataError

COUNT = 20


def encoded(i, damaged=None):
    rng = np.random.default_rng(i)
    height, width = (int(side) for side in rng.integers(20, 60, 2))
    small = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    file = io.BytesIO()
    made = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    made.save(file, "PNG" if i % 3 == 0 else "JPEG")
    return file.getvalue()[:-200] if i == damaged else file.getvalue()


def config(workers, stages, damaged=None):
    images = np.array([encoded(i, damaged) for i in range(COUNT)], object)
    return {
        "source": {"use": "memory", "data": {"image": images, "label": np.arange(COUNT) % 10}},
        "sampler": {"use": "sequential"},
        "stages": stages,
        "batch_size": 8,
        "seed": 3,
        "workers": workers,
    }


TRAIN = [
    {"use": "decode-image"},
    {"use": "random-resized-crop", "size": [16, 12]},
    {"use": "random-flip"},
]
DEVICE = [
    {"use": "random-crop", "size": [14, 10]},
    {"use": "color-jitter"},
    {"use": "normalize"},
    {"use": "one-hot", "field": "label", "num_classes": 10},
    {"use": "mixup"},
    {"use": "cutmix"},
]
EVALUATE = [
    {"use": "decode-image"},
    {"use": "resize", "size": 20},
    {"use": "center-crop", "size": [16, 16]},
]


def digest(pipeline):
    return [pickle.dumps(jax.tree.map(np.asarray, batch)) for batch in pipeline]


@pytest.mark.parametrize("stages", [TRAIN, EVALUATE], ids=["train", "evaluate"])
def test_batches_are_the_same_from_any_workers(stages):
    found = {}
    for name, workers in {
        "none": 0,
        "threads": 2,
        "processes": {"kind": "process", "count": 2},
    }.items():
        found[name] = digest(feedrace.build(config(workers, stages)))
    assert len(found["none"]) == 3
    assert found["none"] == found["threads"] == found["processes"]


def test_batches_have_one_shape():
    batch = next(iter(feedrace.build(config(0, [*TRAIN, *DEVICE]))))
    assert (batch["image"].shape, batch["image"].dtype) == ((8, 14, 10, 3), np.float32)
    assert batch["label"].shape == (8, 10)
    padded = next(
        iter(feedrace.build(config(0, [EVALUATE[0], {"use": "pad-image", "size": [60, 60]}])))
    )
    assert padded["image"].shape == (8, 60, 60, 3)
    for i, size in enumerate(padded["image_size"].tolist()):
        assert np.asarray(Image.open(io.BytesIO(encoded(i)))).shape[:2] == tuple(size)


def test_a_damaged_image_is_an_error_with_its_record():
    pipeline = feedrace.build(config(2, EVALUATE, damaged=13))
    with pytest.raises(DataError, match=r"decode-image: .* cannot be decoded") as caught:
        list(pipeline)
    assert "record 13" in "\n".join([str(caught.value), *caught.value.__notes__])


def test_a_shape_that_varies_is_refused_with_a_fix():
    with pytest.raises((DataError, feedrace.errors.ConfigError), match="image"):
        list(feedrace.build(config(0, [{"use": "decode-image"}])))
