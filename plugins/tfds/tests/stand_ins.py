"""Small datasets under the names that the interface's examples use, made without a download.

Their features are those of TFDS's own builders: mnist has no `id`, and the images of imagenet2012
and coco have any size.
"""

import numpy as np
import tensorflow_datasets as tfds

VERSIONS = {"mnist": "3.0.1", "cifar10": "3.0.2", "imagenet2012": "5.1.0", "coco": "1.1.0"}
CONFIGS = {"coco": "2017"}
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}  # of datasets whose images have one


def prepare(folder):
    """Prepare the datasets, of 48 and 200 random images, in a folder."""
    for dataset in VERSIONS:
        stand_in(dataset)(data_dir=folder).download_and_prepare()


def features_of(dataset):
    image = tfds.features.Image(shape=SHAPES.get(dataset, (None, None, 3)))
    labels = 1000 if dataset == "imagenet2012" else 10
    extra = {"cifar10": ["id"], "imagenet2012": ["file_name"]}.get(dataset, [])
    if dataset != "coco":
        texts = {name: tfds.features.Text() for name in extra}
        return {**texts, "image": image, "label": tfds.features.ClassLabel(num_classes=labels)}
    objects = {
        "area": np.int64,
        "bbox": tfds.features.BBoxFeature(),
        "id": np.int64,
        "is_crowd": np.bool_,
        "label": tfds.features.ClassLabel(num_classes=80),
    }
    return {
        "image": image,
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(objects),
    }


def example(dataset, i, rng):
    shape = SHAPES.get(dataset, (20 + i % 5, 16 + i % 3, 3))
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    if dataset != "coco":
        texts = {"cifar10": {"id": str(i)}, "imagenet2012": {"file_name": f"{i}.JPEG"}}
        return {**texts.get(dataset, {}), "image": pixels, "label": i % 10}
    box = tfds.features.BBox(0.0, 0.0, 0.5, 1.0)
    one = {"area": 7, "bbox": box, "id": i, "is_crowd": False, "label": i % 80}
    return {
        "image": pixels,
        "image/filename": f"{i}.jpg",
        "image/id": i,
        "objects": [one] * (i % 4),
    }


def stand_in(dataset):
    def info(self):
        keys = ("image", "label") if dataset != "coco" else None
        return tfds.core.DatasetInfo(
            builder=self,
            description="Random images.",
            citation="none",
            features=tfds.features.FeaturesDict(features_of(dataset)),
            supervised_keys=keys,
        )

    def examples(self, count):
        rng = np.random.default_rng(0)
        for i in range(count):
            yield i, example(dataset, i, rng)

    def split_generators(self, manager):
        return {"train": self._generate_examples(200), "test": self._generate_examples(48)}

    configs = [tfds.core.BuilderConfig(name=CONFIGS[dataset])] if dataset in CONFIGS else []
    with tfds.core.registered.skip_registration():
        return type(
            dataset.capitalize(),
            (tfds.core.GeneratorBasedBuilder,),
            {
                "name": dataset,
                "VERSION": tfds.core.Version(VERSIONS[dataset]),
                "BUILDER_CONFIGS": configs,
                "_info": info,
                "_split_generators": split_generators,
                "_generate_examples": examples,
                "__module__": __name__,
            },
        )
