"""A dataset with every kind of feature, for the tests."""

import io

import numpy as np
import tensorflow_datasets as tfds

RECORDS = 60


class Everything(tfds.core.GeneratorBasedBuilder):
    """Records made of their number; the shapes of some features vary."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        number = tfds.features.Scalar
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(6, 5, 3)),
                    "grey": tfds.features.Image(shape=(6, 5, 1)),
                    "photo": tfds.features.Image(shape=(16, 12, 3), encoding_format="jpeg"),
                    "deep": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16),
                    "depth": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32),
                    "any_size": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                    "number": np.int64,
                    "share": np.float32,
                    "flag": np.bool_,
                    "vector": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                    "packed": tfds.features.Tensor(
                        shape=(2, 3), dtype=np.int16, encoding=tfds.features.Encoding.ZLIB
                    ),
                    "box": tfds.features.BBoxFeature(),
                    "nested": {"a": number(np.int32), "b": {"c": tfds.features.Text()}},
                    "tokens": tfds.features.Sequence(np.int64),
                    "words": tfds.features.Sequence(tfds.features.Text()),
                    "fixed": tfds.features.Sequence(np.int32, length=4),
                    "objects": tfds.features.Sequence(
                        {"bbox": tfds.features.BBoxFeature(), "label": number(np.int64)}
                    ),
                    "ragged": tfds.features.Sequence(tfds.features.Sequence(np.int32)),
                }
            ),
            supervised_keys=("tokens", "share"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(RECORDS), "test": self._generate_examples(7)}

    def _generate_examples(self, count):
        for i in range(count):
            yield i, record(i)


def jpeg(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    file.seek(0)
    return file


def record(i):
    """Return the record of a number, as `_generate_examples` gives it."""
    rng = np.random.default_rng(i)

    def pixels(*shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    boxes = [tfds.features.BBox(0.1, 0.2, 0.5, 0.25 * (1 + k)) for k in range(i % 4)]
    return {
        "id": f"record-{i}",
        "image": pixels(6, 5, 3),
        "grey": pixels(6, 5, 1),
        "photo": jpeg(np.kron(pixels(4, 3, 3), np.ones((4, 4, 1), np.uint8))),
        "deep": rng.integers(0, 65536, (4, 4, 1)).astype(np.uint16),
        "depth": rng.normal(size=(4, 4, 1)).astype(np.float32),
        "any_size": pixels(3 + i % 3, 4, 3),
        "label": i % 2,
        "number": i,
        "share": i / 8,
        "flag": i % 3 == 0,
        "vector": np.array([i, i + 1, i + 2], np.float32),
        "packed": np.arange(6, dtype=np.int16).reshape(2, 3) * i,
        "box": tfds.features.BBox(0.0, 0.25, 0.5, (5 + i % 5) / 10),
        "nested": {"a": -i, "b": {"c": f"text {i}"}},
        "tokens": list(range(i % 7)),
        "words": [f"w{k}" for k in range(i % 3)],
        "fixed": [i] * 4,
        "objects": [{"bbox": box, "label": k} for k, box in enumerate(boxes)],
        "ragged": [list(range(k)) for k in range(i % 4)],
    }
