"""Datasets of images for the benchmarks: crops of scikit-learn's two sample photographs."""

import io

import numpy as np
import tensorflow_datasets as tfds

SMALL, LARGE = 50_000, 4_000


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
    """50,000 PNG images of 32x32, as CIFAR-10 is stored."""

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
        for i, image in _crops(SMALL, 32, 1):
            yield i, {"id": f"train_{i:05}", "image": np.asarray(image), "label": i % 10}


class LargeJpeg(tfds.core.GeneratorBasedBuilder):
    """4,000 JPEG images of 224x224."""

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
        for i, image in _crops(LARGE, 224, 2):
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=90)
            encoded.seek(0)
            yield i, {"image": encoded, "label": i % 10}
