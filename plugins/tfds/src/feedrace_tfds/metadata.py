"""What a folder says of the dataset in it: dataset_info.json and features.json, checked."""

import json
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import tensorflow_datasets as tfds

from feedrace.plugin import DataError, Storage, clipped

_INFO, _FEATURES = "dataset_info.json", "features.json"
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")  # the last is that of old versions
_LARGEST = 1 << 40  # bytes of a record: more cannot be meant


def described_builder(folder: str, trusted: Collection[str]) -> Any:
    """Return TFDS's builder of the prepared dataset in a folder.

    trusted: names of Python classes that its features may have, besides those of TFDS and of
        installed plugins: TFDS imports them.

    Raises `DataError`, which names the file, for one that is missing or damaged, or that names
    another class.
    """
    info, features = f"{folder}/{_INFO}", f"{folder}/{_FEATURES}"
    _document(info)
    _check_classes(features, _document(features), trusted)
    try:
        builder = tfds.builder_from_directory(folder)
        lengths = {name: split.shard_lengths for name, split in builder.info.splits.items()}
    except Exception as error:
        raise _damaged(features if _are_damaged(folder) else info, error) from error
    for name, counts in lengths.items():
        if any(count < 0 for count in counts):
            raise _damaged(info, f"split {name!r} has shardLengths {clipped(counts)}")
    for path, tensor in _tensors(builder.info.features.get_tensor_info()):
        if _size(tensor) > _LARGEST:
            raise _damaged(features, f"feature {path!r} has shape {clipped(tensor.shape)}")
    return builder


def _document(path: str) -> dict[str, Any]:
    """Return the object in a JSON file."""
    storage = Storage()
    try:
        (file,) = storage.find([path])  # no pipe, which would be waited for
    except DataError as error:
        raise DataError(f"{error}; prepare the dataset again") from error
    try:
        document = json.loads(storage.open(file).read(0, file.size))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict):
        raise _damaged(path, f"it holds {clipped(document)}, no object")
    return document


def _check_classes(path: str, document: Any, trusted: Collection[str]) -> None:
    """Raise `DataError` for a class that is neither TFDS's nor a plugin's nor trusted."""
    for name in _classes(document):
        package = name.partition(".")[0]
        if package == "tensorflow_datasets" or name in trusted:
            continue
        if package not in {plugin.value.partition(".")[0] for plugin in _plugins()}:
            raise DataError(
                f"{path} names the Python class {clipped(name)}, which reading it would import; "
                f"features are of TFDS or of an installed plugin; if you trust this class, add its "
                f"name to trusted_features"
            )


def _plugins() -> Any:
    return entry_points(group="feedrace")


def _classes(document: Any) -> Iterator[str]:
    """Yield the names of classes anywhere in a document."""
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield from (one[key] for key in _CLASS_KEYS if isinstance(one.get(key), str))
            left += one.values()
        elif isinstance(one, list):
            left += one


def _are_damaged(folder: str) -> bool:
    """Return whether it is the features that TFDS cannot read."""
    try:
        tfds.features.FeatureConnector.from_config(folder)
    except Exception:  # noqa: BLE001 (TFDS and protobuf raise errors of many kinds)
        return True
    return False


def _tensors(info: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(info, Mapping):
        for key, inner in info.items():
            yield from _tensors(inner, f"{path}.{key}" if path else key)
    else:
        yield path, info


def _size(tensor: Any) -> int:
    size = 8
    for length in tensor.shape:
        size *= length or 1
    return size


def _damaged(path: str, what: Any) -> DataError:
    reason = str(what).splitlines()[0] if str(what) else type(what).__name__
    return DataError(f"{path} is damaged ({clipped(reason)[1:-1]}); prepare the dataset again")
