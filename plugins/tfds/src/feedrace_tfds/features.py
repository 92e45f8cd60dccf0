"""Which features of a dataset are kept, and what they are called."""

from typing import Any

import attrs
import tensorflow_datasets as tfds

from feedrace.plugin import ConfigError, DataError, Problem, did_you_mean
from feedrace_tfds.config import TFDSConfig

_PLAIN = (tfds.features.Tensor.decode_example_np, tfds.features.Text.decode_example_np)


@attrs.frozen(eq=False)
class Kept:
    """The features of a dataset that are decoded; what is left out never is.

    features: a `FeaturesDict` of them.
    names: what each of them is called in a record.
    """

    features: Any
    names: dict[str, str]


def keep_features(info: Any, config: TFDSConfig) -> Kept:
    """Return the features that the config keeps.

    Raises `ConfigError` for keys that the dataset lacks; `DataError` for a dataset whose records
    are no dicts, and for `as_supervised` where the dataset names no pair.
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
    for field in ("include_keys", "exclude_keys"):
        for key in sorted(getattr(config, field) or ()):
            if key not in names.values():
                hint = did_you_mean(key, list(names.values()))
                known = ", ".join(names.values())
                raise ConfigError([Problem(field, f"no feature {key!r}{hint}; there are {known}")])
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
        type(feature).decode_example_np in _PLAIN
        and getattr(feature, "encoder", None) is None
        and isinstance(stored, tfds.features.TensorInfo)
        and (stored.shape, stored.np_dtype) == (info.shape, info.np_dtype)
        and info.np_dtype != "uint64"  # its bits are stored as int64
        and not info.optional
    )


def need_tensorflow(feature: Any, rank: int = 0) -> bool:
    """Return whether a feature can be decoded by TensorFlow alone.

    rank: the number of sequences that it lies in.
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
    return not packed or type(feature).decode_example_np not in _PLAIN or rank > 0
