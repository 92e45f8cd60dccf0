"""Which features of a dataset are kept, and how they lie in a batch."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow_datasets as tfds

from feedrace.plugin import ConfigError, DataError, Layout, Leaf, Problem, clipped, did_you_mean
from feedrace_tfds.config import TFDSConfig

PLAIN_DECODERS = (tfds.features.Tensor.decode_example_np, tfds.features.Text.decode_example_np)


@attrs.frozen(eq=False)
class Kept:
    """The features of a dataset that are decoded; those left out never are.

    features: a `FeaturesDict` of them.
    names: feature to field name.
    """

    features: Any
    names: dict[str, str]


def keep_features(info: Any, config: TFDSConfig) -> Kept:
    """Return the features that the config keeps.

    Warns of keys in `exclude_keys` that the dataset lacks. Raises `ConfigError` for such in
    `include_keys`, and if nothing is left; `DataError` for a dataset whose records
    are not dicts, and for `as_supervised` if the dataset names no pair.
    """
    if not isinstance(info.features, tfds.features.FeaturesDict):
        raise DataError(
            f"records of dataset {info.full_name} are {type(info.features).__name__}, not dicts "
            f"of features"
        )
    features = dict(sorted(info.features.items()))
    names = {key: key for key in features}
    if config.as_supervised:
        names = _supervised_names(info)
    known = list(names.values())
    missing = {
        field: [
            f"no feature {clipped(key)}{did_you_mean(key, known)}; there are {', '.join(known)}"
            for key in sorted(getattr(config, field) or ())
            if key not in known
        ]
        for field in ("include_keys", "exclude_keys")
    }
    if missing["include_keys"]:
        raise ConfigError([Problem("include_keys", message) for message in missing["include_keys"]])
    for message in missing["exclude_keys"]:
        warnings.warn(f"exclude_keys: {message}", stacklevel=2)
    if config.include_keys is not None:
        names = {key: name for key, name in names.items() if name in config.include_keys}
    if config.exclude_keys is not None:
        names = {key: name for key, name in names.items() if name not in config.exclude_keys}
    if not names:
        raise ConfigError([Problem("include_keys", "no feature is left; keep at least one")])
    return Kept(tfds.features.FeaturesDict({key: features[key] for key in names}), names)


def _supervised_names(info: Any) -> dict[str, str]:
    pair = info.supervised_keys
    if pair is None or not all(isinstance(key, str) and key in info.features for key in pair):
        raise DataError(
            f"as_supervised: dataset {info.full_name} names no pair of input and target features"
        )
    first, second = info.features[pair[0]], info.features[pair[1]]
    if isinstance(first, tfds.features.Image) and isinstance(second, tfds.features.ClassLabel):
        return {pair[0]: "image", pair[1]: "label"}
    return {pair[0]: pair[0], pair[1]: pair[1]}


def make_layout(kept: Kept, config: TFDSConfig) -> Layout:
    """Return the layout of batches of these features.

    Raises `ConfigError` for a name in `pad_to` that no feature of varying shape has, and for one in
    `decode` that no image has; `DataError` for nested datasets, and for sequences of sequences
    without `pad_to`.
    """
    leaves = _encoded(_leaves(kept), kept, config.decode or {})
    leaves = _padded(leaves, kept, config.pad_to or {})
    _check_names(leaves)
    return Layout(tuple(leaves))


def _leaves(kept: Kept) -> list[Leaf]:
    """Return the arrays of a batch as they are stored."""
    leaves = []
    for key, name in kept.names.items():
        for path, info in _tensors(kept.features[key].get_tensor_info()):
            leaf = Leaf((name, *path), tuple(info.shape), _dtype(info), source=(key, *path))
            if info.dataset_lvl:
                raise DataError(
                    f"feature {leaf.dotted!r} is a dataset in each record; leave it out with "
                    f"exclude_keys"
                )
            leaves.append(leaf)
    return leaves


def _encoded(leaves: list[Leaf], kept: Kept, decode: Mapping[str, bool]) -> list[Leaf]:
    """Return the leaves, the images named in `decode` as bytes."""
    found = {leaf.dotted: feature_at(kept.features, leaf.source) for leaf in leaves}
    images = [name for name, (feature, rank) in found.items() if is_image(feature) and not rank]
    problems = []
    for name in decode:
        if name in images:
            continue
        among = f"there are {', '.join(images)}" if images else "there is none"
        rule = f"no feature has this name{did_you_mean(name, images or list(found))}; of images, "
        if name in found:
            feature, rank = found[name]
            kind = f"{'a sequence of ' if rank else ''}{type(feature).__name__}"
            rule = f"the feature ({kind}) is not stored as one encoded image; of those, "
        problems.append(Problem(f"decode.{name}", rule + among))
    if problems:
        raise ConfigError(problems)
    return [
        attrs.evolve(leaf, shape=(), dtype=np.dtype(object)) if leaf.dotted in decode else leaf
        for leaf in leaves
    ]


def _padded(leaves: list[Leaf], kept: Kept, pad_to: Mapping[str, Any]) -> list[Leaf]:
    """Return the leaves with the shapes that `pad_to` gives."""
    unused = set(pad_to)
    padded = []
    for leaf in leaves:
        prefixes = [".".join(leaf.name[:i]) for i in range(len(leaf.name), 0, -1)]
        chosen = next((prefix for prefix in prefixes if prefix in pad_to), None)
        if chosen is not None and None in leaf.shape:
            unused.discard(chosen)
            leaf = attrs.evolve(leaf, target=_target(leaf, chosen, pad_to[chosen]))
        if leaf.is_ragged and feature_at(kept.features, leaf.source)[1] > 1:
            raise DataError(
                f"feature {leaf.dotted!r} of shape {leaf.shape} holds lists of lists; give "
                f"their lengths in pad_to, or leave it out with exclude_keys"
            )
        padded.append(leaf)
    if unused:
        wrong = min(unused)
        varying = [leaf.dotted for leaf in leaves if None in leaf.shape]
        hint = did_you_mean(wrong, varying) or f"; there are {', '.join(varying) or 'none'}"
        raise ConfigError([Problem(f"pad_to.{wrong}", f"is no feature whose shape varies{hint}")])
    return padded


def _tensors(info: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return (path, TensorInfo) of each array of a feature."""
    if isinstance(info, Mapping):
        return [
            leaf for key, inner in sorted(info.items()) for leaf in _tensors(inner, (*path, key))
        ]
    return [(path, info)]


def _dtype(info: Any) -> "np.dtype[Any]":
    strings = info.np_dtype in (np.str_, np.bytes_, object)
    return np.dtype(object) if strings else np.dtype(info.np_dtype)


def _target(leaf: Leaf, name: str, given: int | list[int]) -> tuple[int, ...]:
    """Return the padded shape of a leaf, from the lengths given for its varying axes."""
    varying = leaf.shape.count(None)
    sizes = given if isinstance(given, list) else [given] * varying
    if len(sizes) != varying:
        message = (
            f"{given!r} has {len(sizes)} lengths; {leaf.dotted} of shape {leaf.shape} needs "
            f"{varying}"
        )
        raise ConfigError([Problem(f"pad_to.{name}", message)])
    left = iter(sizes)
    return tuple(next(left) if size is None else size for size in leaf.shape)


def _check_names(leaves: list[Leaf]) -> None:
    names = {leaf.name for leaf in leaves}
    for leaf in leaves:
        if leaf.target is not None and leaf.length_name in names:
            raise DataError(
                f"the lengths of {leaf.dotted} would be called {'.'.join(leaf.length_name)}, as "
                f"another feature is; leave that one out"
            )


def feature_at(feature: Any, path: Sequence[str]) -> tuple[Any, int]:
    """Return the feature at a path of dicts, and the number of sequences around it."""
    rank = 0
    for key in path:
        feature = feature[key]
        while isinstance(feature, tfds.features.Sequence):
            feature, rank = feature.feature, rank + 1
    return feature, rank


def is_image(feature: Any) -> bool:
    """Return whether a feature is stored as one encoded image."""
    decode = tfds.features.Image.decode_example_np
    return isinstance(feature, tfds.features.Image) and type(feature).decode_example_np is decode


def is_plain(feature: Any) -> bool:
    """Return whether a feature is stored as the numbers or strings that it holds."""
    if not isinstance(feature, tfds.features.Tensor | tfds.features.Text):
        return False
    stored, info = feature.get_serialized_info(), feature.get_tensor_info()
    return (
        type(feature).decode_example_np in PLAIN_DECODERS
        and getattr(feature, "encoder", None) is None
        and isinstance(stored, tfds.features.TensorInfo)
        and (stored.shape, stored.np_dtype) == (info.shape, info.np_dtype)
        and info.np_dtype != "uint64"  # its bits are stored as int64
        and not info.optional
    )


def need_tensorflow(feature: Any, rank: int = 0) -> bool:
    """Return whether only TensorFlow can decode a feature.

    rank: the number of sequences around it.
    """
    if isinstance(feature, tfds.features.FeaturesDict):
        return any(need_tensorflow(inner, rank) for inner in feature.values())
    if isinstance(feature, tfds.features.Sequence) and not isinstance(
        feature, tfds.features.Dataset
    ):
        return need_tensorflow(feature.feature, rank + 1)
    if is_plain(feature):
        return rank > 0 and None in feature.shape
    if is_image(feature):
        return rank > 0 and (rank > 1 or None in feature.shape)
    # What remains of tensors is packed into bytes.
    packed = isinstance(feature, tfds.features.Tensor) and not feature.get_tensor_info().optional
    return not packed or type(feature).decode_example_np not in PLAIN_DECODERS or rank > 0
