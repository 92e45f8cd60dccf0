"""Images that stay encoded, for a record stage to decode."""

from pathlib import Path
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

import feedrace
from feedrace import create
from feedrace.errors import ConfigError, StateError
from feedrace_tfds.config import TFDSStreamingConfig
from feedrace_tfds.decode import make_decoder
from feedrace_tfds.images import decode_image

ENCODED = {"image": False}


def source(kind="tfds-streaming", **fields):
    return create("source", kind, **{"name": "feedrace_digits", "split": "test", **fields})


@pytest.mark.parametrize("kind", ["tfds-streaming", "tfds-eager"])
def test_an_encoded_image_arrives_as_its_bytes(data_dir, kind):
    encoded = source(kind, data_dir=data_dir, decode=ENCODED)
    spec = encoded.element_spec()["image"]
    assert (spec.shape, spec.dtype) == ((), object)
    got = encoded.fetch(np.arange(20))
    assert {type(image) for image in got["image"]} == {bytes}
    decoded = source(data_dir=data_dir).fetch(np.arange(20))
    for image, wanted in zip(got["image"], decoded["image"], strict=True):
        assert (decode_image(image, 1, np.uint8) == wanted).all()
    assert (np.asarray(got["label"]) == decoded["label"]).all()
    assert "without TensorFlow" in encoded.details()[1]


def test_an_eager_source_keeps_encoded_images_on_the_host(data_dir):
    made = source("tfds-eager", data_dir=data_dir, decode=ENCODED)
    assert not made.on_device
    assert made.data["image"].dtype == object
    assert next(iter(made))["image"].startswith(b"\x89PNG")


@pytest.mark.parametrize("workers", [0, 2, {"kind": "process", "count": 1}])
def test_a_record_stage_decodes_what_the_source_left_encoded(data_dir, workers, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from record_stages import opened

    pipeline = feedrace.Pipeline(
        source=source(data_dir=data_dir, decode=ENCODED, shuffle=True),
        stages=[opened], batch_size=100, workers=workers,
    )  # fmt: skip
    plain = feedrace.Pipeline(source=source(data_dir=data_dir, shuffle=True), batch_size=100)
    for batch, wanted in zip(pipeline, plain, strict=True):
        assert (np.asarray(batch["image"]) == np.asarray(wanted["image"])).all()
        assert (np.asarray(batch["index"]) == np.asarray(wanted["index"])).all()


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ({"imag": False}, r"decode\.imag: no feature has this name; did you mean 'image'.* image"),
        ({"label": False}, r"decode\.label: the feature \(ClassLabel\) is not stored as one enc"),
        ({"image": True}, r"decode\.image: True is not false"),
        ({"objects.bbox": False}, r"bbox: the feature \(a sequence of BBoxFeature\) is not stored"),
        ({"nested": False}, r"decode\.nested: no feature has this name"),
        ({"labl": False, "im": False}, r"(?s)decode\.labl.*decode\.im"),
    ],
)
def test_what_cannot_stay_encoded_is_named(everything, decode, message):
    with pytest.raises(ConfigError, match=message):
        source(name="everything", data_dir=everything["tfrecord"], decode=decode,
               exclude_keys=["ragged"])  # fmt: skip


@pytest.mark.parametrize("decoder", ["numpy", "tensorflow"])
def test_images_of_every_kind_can_stay_encoded(everything, decoder):
    if decoder == "tensorflow":
        pytest.importorskip("tensorflow")
    fields = {"name": "everything", "data_dir": everything["tfrecord"], "decoder": decoder}
    images = ["any_size", "deep", "depth", "image", "photo"]
    made = source(**fields, include_keys=[*images, "id"], decode=dict.fromkeys(images, False))
    plain = source(**fields, include_keys=[*images, "id"])
    got, wanted = made.fetch(np.arange(7)), plain.fetch(np.arange(7))
    for name in images:
        spec = plain.element_spec()[name]
        for image, expected in zip(got[name], wanted[name], strict=True):
            assert (decode_image(image, spec.shape[-1], spec.dtype) == expected).all()
    assert (got["id"] == wanted["id"]).all()


def info(features, supervised_keys=None):
    return SimpleNamespace(
        features=tfds.features.FeaturesDict(features),
        supervised_keys=supervised_keys,
        full_name="made/1.0.0",
    )


def decoder_of(info, **fields):
    return make_decoder(info, TFDSStreamingConfig(name="made", split="train", **fields), 1)


def test_a_nested_image_is_named_with_dots():
    features = {"views": {"left": tfds.features.Image(), "right": tfds.features.Image()}}
    with pytest.raises(ConfigError, match=r"did you mean 'views\.left'"):
        decoder_of(info(features), decode={"views.lef": False})
    decoder = decoder_of(info(features), decode={"views.left": False, "views.right": False})
    record = tf_example_pb2.Example()
    for side in (b"left", b"right"):
        key = f"views/{side.decode()}"
        record.features.feature[key].bytes_list.value.append(side * 100)
    arrays = decoder.layout.allocate(1)
    assert decoder.decode([(0, record.SerializeToString())], arrays) == []
    batch = decoder.layout.pack(arrays, wide=False)
    assert {k: v[0] for k, v in batch["views"].items()} == {
        "left": b"left" * 100, "right": b"right" * 100,
    }  # fmt: skip


def test_as_supervised_names_are_those_that_decode_takes():
    pair = {"picture": tfds.features.Image(), "kind": tfds.features.ClassLabel(num_classes=3)}
    made = info(pair, ("picture", "kind"))
    layout = decoder_of(made, as_supervised=True, decode=ENCODED).layout
    assert [(leaf.dotted, leaf.shape) for leaf in layout.leaves] == [("image", ()), ("label", ())]
    with pytest.raises(ConfigError, match=r"decode\.picture: no feature has this name.* image"):
        decoder_of(made, as_supervised=True, decode={"picture": False})


def test_a_state_belongs_to_what_was_left_encoded(data_dir):
    state = feedrace.Pipeline(source=source(data_dir=data_dir), batch_size=8).get_state()
    pipeline = feedrace.Pipeline(source=source(data_dir=data_dir, decode=ENCODED), batch_size=8)
    with pytest.raises(StateError, match="decode"):
        pipeline.set_state(state)


def test_a_config_with_it_can_be_hashed_and_copied():
    config = TFDSStreamingConfig(name="d", split="train", decode=ENCODED)
    assert hash(config) == hash(attrs.evolve(config))
