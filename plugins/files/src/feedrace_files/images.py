"""Image files by number, without JAX."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import (
    Arrays,
    DataError,
    Failure,
    File,
    Layout,
    Leaf,
    Ranges,
    Raw,
    Storage,
    Table,
    Unreadable,
    is_remote,
)
from feedrace_files.labels import Labels

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_SHOWN = 10


def find_images(storage: Storage, path: str | Sequence[str]) -> tuple[tuple[File, ...], list[str]]:
    """Return the files that a path names, and the folder of images that each belongs to."""
    given = [path] if isinstance(path, str) else list(path)
    paths = [one if is_remote(one) else os.path.abspath(one) for one in given]
    roots = sorted({_root(one) for one in paths}, key=len, reverse=True)  # inner ones first
    beginnings = [(root, (f"{root}/", f"{root}{os.sep}")) for root in roots]
    files = storage.find(paths, SUFFIXES)
    return files, [
        next(root for root, begins in beginnings if file.path.startswith(begins)) for file in files
    ]


def _root(path: str) -> str:
    """Return the folder that the names of a path's images are relative to."""
    if is_remote(path) or not os.path.exists(path):
        magic = re.search(r"[*?[]", path)
        if magic:
            return os.path.dirname(path[: magic.start()])
    is_folder = not path.lower().endswith(SUFFIXES) if is_remote(path) else os.path.isdir(path)
    return path.rstrip("/") if is_folder else os.path.dirname(path)


class ImageContent:
    """The files of images, read whole."""

    def __init__(
        self,
        storage: Storage,
        files: tuple[File, ...],
        names: tuple[str, ...],
        labels: Labels | None,
        columns: Sequence[str],
    ) -> None:
        self._arguments = storage, files, names, labels, columns
        self.names, self.labels = names, labels
        counts = [1] * len(files)
        self._images = Ranges(storage, files, _WholeFiles(files), _check, counts)
        self.layout = Layout(tuple(Leaf((n,), (), _dtype(n)) for n in columns))
        self._leaves = {name: number for number, name in enumerate(columns)}

    def __reduce__(self) -> Any:
        return ImageContent, self._arguments

    def __len__(self) -> int:
        return len(self.names)

    def locate(self, number: int) -> tuple[str, int]:
        """Return the path of an image, and 0."""
        return self._images.locate(number)

    def load(self, numbers: NDArray[np.int64], arrays: Arrays) -> list[Failure]:
        """Put images into slots; return which slots failed, and why."""
        place = {name: arrays.values[leaf] for name, leaf in self._leaves.items()}
        if "label" in place and self.labels is not None:
            place["label"][: len(numbers)] = self.labels.values[numbers]
        if "path" in place:
            place["path"][: len(numbers)] = [self.names[number] for number in numbers.tolist()]
        failures: list[Failure] = []
        if "image" in place:
            for slot, data in self._images.read(numbers):
                if isinstance(data, bytes):
                    place["image"][slot] = data
                else:
                    failures.append((slot, DataError(data.reason)))
        return failures

    def describe(self) -> list[str]:
        """Return sentences on the files, and on the classes."""
        found = [f"each of {len(self)} images is a file, which is read whole"]
        if self.labels is None:
            return [*found, "there are no labels: the images lie in no folders of classes"]
        classes = self.labels.classes
        if not classes:
            return [*found, "labels are the numbers in the CSV file"]
        more = ", ..." if len(classes) > _SHOWN else ""
        return [*found, f"there are {len(classes)} classes: {', '.join(classes[:_SHOWN])}{more}"]


class _WholeFiles(Sequence[Table]):
    """The tables of files of one record each."""

    def __init__(self, files: tuple[File, ...]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: Any) -> Any:
        size = self._files[number].size
        return Table({"starts": np.zeros(1, np.int64), "sizes": np.array([size], np.int64)})


def _check(data: bytes) -> Raw:
    return data or Unreadable("the file is empty")


def _dtype(field: str) -> "np.dtype[Any]":
    return np.dtype(np.int32) if field == "label" else np.dtype(object)
