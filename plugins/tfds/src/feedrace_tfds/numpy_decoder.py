"""Decoding without TensorFlow, record by record, in threads that images leave to each other."""

import itertools
import operator
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from feedrace.plugin import DataError
from feedrace_tfds.features import Kept, is_image, is_plain
from feedrace_tfds.images import decode_image, image_decoder
from feedrace_tfds.layout import Arrays, Layout, Leaf
from feedrace_tfds.shards import Raw

_LISTS = {"f": "float_list", "i": "int64_list", "u": "int64_list", "b": "int64_list",
          "O": "bytes_list"}  # fmt: skip
# What the parsers and decoders raise for a record that is not what its features promise.
UNDECODABLE = (DecodeError, AttributeError, LookupError, OSError, OverflowError, RuntimeError,
               TypeError, ValueError, zlib.error, DataError)  # fmt: skip

Failure = tuple[int, Exception]
Stored = list[Any]  # for each record, its features by key
Read = Callable[[Any], Any]
Fill = Callable[[Stored, Arrays, int], None]


@attrs.frozen(eq=False)
class NumpyDecoder:
    """Decodes raw records of one dataset into arrays."""

    layout: Layout
    _images: Sequence[tuple[int, str]]  # leaf and key of images of known shape
    _others: Sequence[Fill]

    concurrent = True
    way = "without TensorFlow"

    def decode(self, raw: Sequence[Raw], arrays: Arrays, first: int) -> list[Failure]:
        """Put raw records into slots from `first` on; return which slots failed, and why."""
        try:
            self._decode_all(raw, arrays, first)
        except UNDECODABLE:
            return self._decode_each(raw, arrays, first)
        return []

    def _decode_all(self, raw: Sequence[Any], arrays: Arrays, first: int) -> None:
        # Images go one by one with the parsing, so that the lock which threads share is never held
        # for long; the rest goes field by field, which spares much of what a record would cost.
        parse, stored = tf_example_pb2.Example.FromString, []
        images = [(key, image_decoder(arrays.values[i])) for i, key in self._images]
        for slot, record in enumerate(raw, first):
            features = parse(record).features.feature
            for key, decode in images:
                decode(features[key].bytes_list.value[0], slot)
            stored.append(features)
        for fill in self._others:
            fill(stored, arrays, first)

    def _decode_each(self, raw: Sequence[Raw], arrays: Arrays, first: int) -> list[Failure]:
        failures: list[Failure] = []
        for slot, record in enumerate(raw, first):
            if not isinstance(record, bytes):
                failures.append((slot, DataError(record.reason)))
                continue
            try:
                self._decode_all([record], arrays, slot)
            except UNDECODABLE as error:
                failures.append((slot, error))
        return failures


def make_numpy_decoder(kept: Kept, layout: Layout) -> NumpyDecoder:
    """Return a decoder of these features, of which none may need TensorFlow."""
    images: list[tuple[int, str]] = []
    others: list[Fill] = []
    for i, leaf in enumerate(layout.leaves):
        feature, rank = _feature_at(kept.features, leaf.source)
        known = rank == 0 and None not in leaf.shape and leaf.dtype != np.float32
        if known and is_image(feature):
            images.append((i, "/".join(leaf.source)))
        else:
            others.append(_field(i, leaf, feature, rank))
    return NumpyDecoder(layout, images, others)


def _feature_at(feature: Any, path: tuple[str, ...]) -> tuple[Any, int]:
    """Return the feature at a path of dicts, and the number of sequences that it lies in."""
    rank = 0
    for key in path:
        feature = feature[key]
        while isinstance(feature, tfds.features.Sequence):
            feature, rank = feature.feature, rank + 1
    return feature, rank


def _field(i: int, leaf: Leaf, feature: Any, rank: int) -> Fill:
    """Return the function that fills the array of leaf number `i`."""
    key = "/".join(leaf.source)
    if is_image(feature):
        return _fill_each(i, leaf, _image(key, leaf, feature.shape if rank else None))
    if not is_plain(feature):
        return _fill_each(i, leaf, _packed(key, feature))
    if rank > 1 and leaf.shape.count(None) > 1:
        return _fill_each(i, leaf, _nested_lists(key, leaf))
    if not leaf.shape:
        return _fill_scalars(i, key, _LISTS[leaf.dtype.kind])
    return _fill_each(i, leaf, _plain(key, leaf.shape, leaf.dtype))


def _fill_scalars(i: int, key: str, kind: str) -> Fill:
    value_of = operator.attrgetter(f"{kind}.value")

    def fill(stored: Stored, arrays: Arrays, first: int) -> None:
        values = [value_of(features[key])[0] for features in stored]
        arrays.values[i][first : first + len(stored)] = values

    return fill


def _fill_each(i: int, leaf: Leaf, read: Read) -> Fill:
    def fill(stored: Stored, arrays: Arrays, first: int) -> None:
        values, lengths = arrays.values[i], arrays.lengths[i]
        for slot, features in enumerate(stored, first):
            leaf.put(values, lengths, slot, read(features))

    return fill


def _plain(key: str, shape: tuple[int | None, ...], dtype: Any) -> Read:
    kind = _LISTS[dtype.kind]
    if not shape:
        return lambda features: getattr(features[key], kind).value[0]
    known = [-1 if size is None else size for size in shape]
    return lambda features: np.array(getattr(features[key], kind).value, dtype).reshape(known)


def _packed(key: str, feature: Any) -> Read:
    """Return a function that unpacks a tensor stored as bytes, beside which its shape may be."""
    info = feature.get_serialized_info()
    if not isinstance(info, dict):
        read = _plain(key, info.shape, np.dtype(info.np_dtype))
        return lambda features: feature.decode_example_np(read(features))
    parts = {
        name: _plain(f"{key}/{name}", part.shape, np.dtype(part.np_dtype))
        for name, part in info.items()
    }
    return lambda features: feature.decode_example_np({n: r(features) for n, r in parts.items()})


def _nested_lists(key: str, leaf: Leaf) -> Read:
    """Return a function that gives lists of lists of arrays, for sequences of sequences."""
    varying = leaf.shape.count(None)
    flat = _plain(f"{key}/ragged_flat_values", (None, *leaf.shape[varying:]), leaf.dtype)

    def read(features: Any) -> Any:
        values = flat(features)
        for level in reversed(range(varying - 1)):
            lengths = features[f"{key}/ragged_row_lengths_{level}"].int64_list.value
            ends = np.cumsum([0, *lengths])
            values = [values[i:j] for i, j in itertools.pairwise(ends.tolist())]
        return values

    return read


def _image(key: str, leaf: Leaf, shape: tuple[int, ...] | None) -> Read:
    """Return a function that gives an image; with `shape`, a list of images of that shape."""
    channels, dtype = leaf.shape[-1] or 3, leaf.dtype
    if shape is None:
        return lambda features: decode_image(features[key].bytes_list.value[0], channels, dtype)

    def read(features: Any) -> Any:
        encoded = features[key].bytes_list.value
        images = np.empty((len(encoded), *shape), dtype)
        decode = image_decoder(images)
        for number, one in enumerate(encoded):
            decode(one, number)
        return images

    return read
