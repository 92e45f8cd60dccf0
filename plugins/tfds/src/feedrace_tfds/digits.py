"""The dataset `feedrace_digits`: handwritten digits that ship inside scikit-learn's wheel."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

_TEST_EVERY = 5


class FeedraceDigits(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """1,797 images of 8x8 with values 0 to 16, from the UCI ML hand-written digits set.

    Records whose number in scikit-learn's set is a multiple of 5 are the test split (360), the
    others the train split (1,437). `index` is that number.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            description="Handwritten digits of 8x8 pixels, values 0 to 16.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "index": np.int64,
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples(False), "test": self._generate_examples(True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            if (i % _TEST_EVERY == 0) == test:
                pixels = image.astype(np.uint8)[..., None]
                yield i, {"image": pixels, "label": int(label), "index": i}
