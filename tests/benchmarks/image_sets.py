"""Datasets of images for the benchmarks: crops of scikit-learn's two sample photographs."""

import functools
import io

import numpy as np
import tensorflow_datasets as tfds
from measure import IMAGES

PHOTOGRAPHS = 1_500


def _crops(count, size, seed):
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(seed)
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        side = int(rng.integers(size, min(photograph.size) + 1))
        left = int(rng.integers(0, photograph.width - side + 1))
        top = int(rng.integers(0, photograph.height - side + 1))
        box = (left, top, left + side, top + side)
        yield i, photograph.resize((size, size), Image.Resampling.BILINEAR, box)


class SmallPng(tfds.core.GeneratorBasedBuilder):
    """PNG images of 32x32, as CIFAR-10 is stored."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, image in _crops(IMAGES["small_png"], 32, 1):
            yield i, {"id": f"train_{i:05}", "image": np.asarray(image), "label": i % 10}


class LargeJpeg(tfds.core.GeneratorBasedBuilder):
    """JPEG images of 224x224."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(224, 224, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, image in _crops(IMAGES["large_jpeg"], 224, 2):
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=90)
            encoded.seek(0)
            yield i, {"image": encoded, "label": i % 10}


@functools.cache
def _photographs():
    """Return the JPEGs of random parts of the photographs, 200 to 700 pixels a side."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    originals = [Image.fromarray(image) for image in load_sample_images().images]
    rng, made = np.random.default_rng(3), []
    for i in range(PHOTOGRAPHS):
        original = originals[i % len(originals)]
        width, height = rng.integers(200, 701, 2).tolist()
        most = min(original.width / width, original.height / height)
        scale = most * rng.uniform(0.7, 1.0)
        left = rng.uniform(0, original.width - scale * width)
        top = rng.uniform(0, original.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        encoded = io.BytesIO()
        part = original.resize((width, height), Image.Resampling.BICUBIC, box)
        part.save(encoded, "JPEG", quality=90)
        made.append(encoded.getvalue())
    return made


class Photographs(tfds.core.GeneratorBasedBuilder):
    """1,500 JPEG images of 200 to 700 pixels a side."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Scalar(np.int32),
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, encoded in enumerate(_photographs()):
            yield i, {"id": i, "image": io.BytesIO(encoded)}


def write_encoded(path):
    """Write the photographs one after another to a file, and where each stops beside it."""
    stops = [0]
    with open(path, "wb") as file:
        for encoded in _photographs():
            file.write(encoded)
            stops.append(file.tell())
    np.save(f"{path}.stops.npy", stops)
