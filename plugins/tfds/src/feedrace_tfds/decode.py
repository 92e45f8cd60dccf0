"""The choice of a decoder, from the features of a dataset."""

import functools
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from feedrace.plugin import DataError, Layout, Leaf, install_line
from feedrace_tfds.config import TFDSConfig
from feedrace_tfds.features import (
    Kept,
    feature_at,
    is_image,
    is_plain,
    keep_features,
    make_layout,
    need_tensorflow,
)
from feedrace_tfds.images import decode_image
from feedrace_tfds.numpy_decoder import (
    Images,
    NestedLists,
    NumpyDecoder,
    Packed,
    Read,
    Scalar,
    Tensor,
)

if TYPE_CHECKING:
    from feedrace_tfds.tensorflow_decoder import TensorFlowDecoder


def make_decoder(info: Any, config: TFDSConfig, threads: int) -> "NumpyDecoder | TensorFlowDecoder":
    """Return the decoder that the config names, for the features that it keeps.

    Raises `ConfigError` for keys that the dataset lacks; `DataError` for features that no decoder,
    or not the one named, can decode.
    """
    kept = keep_features(info, config)
    layout = make_layout(kept, config)
    needing = [kept.names[key] for key in kept.names if need_tensorflow(kept.features[key])]
    if config.decoder == "numpy" and needing:
        raise DataError(
            f"decoder = 'numpy' cannot decode {', '.join(needing)} of dataset {info.full_name}; "
            f"use 'tensorflow', or leave them out with exclude_keys"
        )
    if needing and importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f"{', '.join(needing)} of dataset {info.full_name} cannot be decoded without "
            f"TensorFlow: {install_line('tfds')}, or leave them out with exclude_keys"
        )
    if config.decoder == "tensorflow" or needing:
        from feedrace_tfds.tensorflow_decoder import make_tensorflow_decoder

        return make_tensorflow_decoder(kept, layout, threads)
    return make_numpy_decoder(kept, layout)


def make_numpy_decoder(kept: Kept, layout: Layout) -> NumpyDecoder:
    """Return a decoder of these features, none of which may need TensorFlow."""
    images: list[tuple[int, str, Any]] = []
    reads: list[tuple[int, Read]] = []
    for i, leaf in enumerate(layout.leaves):
        feature, rank = feature_at(kept.features, leaf.source)
        if is_image(feature) and not rank:
            images.append((i, "/".join(leaf.source), _unpack(leaf)))
        else:
            reads.append((i, _read(leaf, feature, rank)))
    return NumpyDecoder(layout, images, reads)


def _unpack(leaf: Leaf) -> Any:
    """Return the function that makes a leaf's values of an encoded image, or None."""
    if leaf.dtype == object:  # it stays encoded
        return bytes
    if None not in leaf.shape and leaf.dtype != np.float32:
        return None
    return functools.partial(decode_image, channels=leaf.shape[-1] or 3, dtype=leaf.dtype)


def _read(leaf: Leaf, feature: Any, rank: int) -> Read:
    """Return the function that reads a leaf's values from a stored record."""
    key = "/".join(leaf.source)
    if is_image(feature):
        return Images(key, tuple(feature.shape), leaf.dtype)
    if not is_plain(feature):
        return _packed(key, feature, leaf)
    if rank > 1 and leaf.shape.count(None) > 1:
        return NestedLists(key, leaf.shape, leaf.dtype)
    return Tensor(key, leaf.shape, leaf.dtype) if leaf.shape else Scalar(key, leaf.dtype)


def _packed(key: str, feature: Any, leaf: Leaf) -> Packed:
    stored = feature.get_serialized_info()
    sizes = None
    if isinstance(stored, dict):
        sizes = _stored(f"{key}/shape", stored["shape"])
        key, stored = f"{key}/value", stored["value"]
    encoding = feature._encoding.value  # TFDS has no public name for it
    return Packed(_stored(key, stored), sizes, leaf.shape, leaf.dtype, encoding)


def _stored(key: str, info: Any) -> Any:
    dtype = np.dtype(info.np_dtype)
    return Tensor(key, tuple(info.shape), dtype) if info.shape else Scalar(key, dtype)
