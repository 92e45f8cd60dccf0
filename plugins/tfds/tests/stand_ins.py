"""Small datasets under the names that the interface's examples use, made without a download."""

import numpy as np
import tensorflow_datasets as tfds


def prepare(folder):
    """Prepare mnist, cifar10 and imagenet2012, of 48 and 200 random images, in a folder."""
    for name, version, shape, classes in (
        ("mnist", "3.0.1", (28, 28, 1), 10),
        ("cifar10", "3.0.2", (32, 32, 3), 10),
        ("imagenet2012", "5.1.0", (16, 16, 3), 1000),
    ):
        stand_in(name, version, shape, classes)(data_dir=folder).download_and_prepare()


def stand_in(dataset, version, shape, classes):
    def info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Random images.",
            citation="none",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=shape),
                    "label": tfds.features.ClassLabel(num_classes=classes),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def examples(self, count):
        rng = np.random.default_rng(0)
        for i in range(count):
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            yield i, {"id": str(i), "image": pixels, "label": i % 10}

    def split_generators(self, manager):
        return {"train": self._generate_examples(200), "test": self._generate_examples(48)}

    with tfds.core.registered.skip_registration():
        return type(
            dataset.capitalize(),
            (tfds.core.GeneratorBasedBuilder,),
            {
                "name": dataset,
                "VERSION": tfds.core.Version(version),
                "_info": info,
                "_split_generators": split_generators,
                "_generate_examples": examples,
                "__module__": __name__,
            },
        )
