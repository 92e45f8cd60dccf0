"""The source of a folder of images."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from numpy.typing import NDArray

from feedrace.plugin import DataError, File, FileSource, chosen, storage_of
from feedrace_files.config import ImageFolderConfig
from feedrace_files.images import ImageContent, find_images
from feedrace_files.labels import csv_labels, folder_labels

_FEW = 20_000  # files, of which each start reads a part


class ImageFolderSource(FileSource):
    """The images in a folder: fields `image`, `label` and `path`.

    `image` holds the bytes of the file, for a record stage to decode; `label` an int32, the number
    of the class among the sorted names of folders, or what a CSV file says; `path` the name of the
    image relative to the folder. Images that lie in no folders, and without a CSV file, have no
    label. Files with other suffixes than those of images are left out.

    classes: the names of the classes, by number.
    """

    def __init__(
        self, config: ImageFolderConfig, *, rngs: nnx.Rngs | None = None, name: str | None = None
    ) -> None:
        storage = storage_of(config)
        files, roots = find_images(storage, config.path)
        names = tuple(
            file.path[len(root) + 1 :].replace(os.sep, "/")
            for file, root in zip(files, roots, strict=True)
        )
        labels = (
            folder_labels(names, [file.path for file in files])
            if config.labels is None
            else csv_labels(storage, config, roots, names)
        )
        fields = ["image", "path"] if labels is None else ["image", "label", "path"]
        where = "image-folder" if labels else "image-folder without folders of classes"
        columns = chosen(fields, config.columns, where)
        if config.on_error == "raise" and "image" in columns:
            _check_whole(files)
        content = ImageContent(storage, files, names, labels, columns)
        super().__init__(config, content, files, rngs=rngs, name=name)
        self.classes = labels.classes if labels else ()

    def column(self, field: str) -> NDArray[Any]:
        """Return one field of all records; labels and paths are at hand."""
        content: Any = self._content
        known: dict[str, NDArray[Any]] = (
            {} if content.labels is None else {"label": content.labels.values}
        )
        if field == "path":
            return np.array(content.names, object)
        if field in known:
            return known[field]
        found: NDArray[Any] = self.fetch(np.arange(len(self)))[field]
        return found

    def identity(self) -> str:
        """Return a digest of the names and labels of the images, and of what is in the files.

        Of more than 20,000 files their sizes stand for what is in them.
        """
        content: Any = self._content
        digest = hashlib.blake2b("\0".join(content.names).encode(), digest_size=8)
        if content.labels is not None:
            digest.update(content.labels.values.tobytes())
        if len(self) > _FEW:
            digest.update(np.array([file.size for file in self._files], np.int64).tobytes())
            return f"{len(self)} records {digest.hexdigest()}"
        return f"{super().identity()} {digest.hexdigest()}"


def _check_whole(files: Sequence[File]) -> None:
    empty = [file.path for file in files if not file.size]
    if empty:
        more = f", as are {len(empty) - 1} more" if len(empty) > 1 else ""
        raise DataError(
            f"{empty[0]} is empty{more}; replace the file, or continue without the image with "
            f"on_error = 'substitute' or 'skip'"
        )
