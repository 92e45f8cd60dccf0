"""Decoding without TensorFlow, record by record, in threads that images leave to each other."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from penstock import DataError
from penstock_tfds.features import Kept, is_image, is_plain
from penstock_tfds.images import decode_image
from penstock_tfds.layout import Arrays, Layout, Leaf
from penstock_tfds.shards import Raw

_LISTS = {"f": "float_list", "i": "int64_list", "u": "int64_list", "b": "int64_list",
          "O": "bytes_list"}  # fmt: skip
# What the parsers and decoders raise for a record that is not what its features promise.
UNDECODABLE = (DecodeError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
               ValueError, zlib.error, DataError)  # fmt: skip

Failure = tuple[int, Exception]
Read = Callable[[Any], Any]


@attrs.frozen(eq=False)
class NumpyDecoder:
    """Decodes raw records of one dataset into arrays."""

    layout: Layout
    _quick: Sequence[tuple[int, Leaf, Read | None, "Image | None"]]
    _rest: Any  # the features that TFDS's own parser decodes, or None
    _rest_leaves: Sequence[tuple[int, Leaf]]

    concurrent = True
    way = "without TensorFlow"

    def decode(self, raw: Sequence[Raw], arrays: Arrays, first: int) -> list[Failure]:
        """Put raw records into slots from `first` on; return which slots failed, and why."""
        failures: list[Failure] = []
        parse, values, lengths = tf_example_pb2.Example.FromString, arrays.values, arrays.lengths
        for slot, record in enumerate(raw, first):
            if not isinstance(record, bytes):
                failures.append((slot, DataError(record.reason)))
                continue
            try:
                fields = parse(record).features.feature
                for i, leaf, read, image in self._quick:
                    if image is not None:
                        image.decode(fields, values[i][slot])
                    elif read is not None:
                        leaf.put(values[i], lengths[i], slot, read(fields))
                if self._rest is not None:
                    decoded = self._rest.deserialize_example_np(record)
                    for i, leaf in self._rest_leaves:
                        value = decoded
                        for key in leaf.source:
                            value = value[key]
                        leaf.put(values[i], lengths[i], slot, value)
            except UNDECODABLE as error:
                failures.append((slot, error))
        return failures


@attrs.frozen(eq=False)
class Image:
    """An image that is decoded right into its place in the batch."""

    key: str
    channels: int
    dtype: Any

    def decode(self, fields: Any, out: Any) -> None:
        """Decode one record's image into `out`; raises where it is damaged or of another shape."""
        image = decode_image(fields[self.key].bytes_list.value[0], self.channels, self.dtype, out)
        if image is not out:
            if image.shape != out.shape:
                raise ValueError(f"{self.key} has shape {image.shape}")
            if not np.shares_memory(image, out):
                out[...] = image

    def read(self, fields: Any) -> Any:
        """Return one record's image."""
        return decode_image(fields[self.key].bytes_list.value[0], self.channels, self.dtype)


def make_numpy_decoder(kept: Kept, layout: Layout) -> NumpyDecoder:
    """Return a decoder of these features."""
    quick: list[tuple[int, Leaf, Read | None, Image | None]] = []
    rest_leaves: list[tuple[int, Leaf]] = []
    for i, leaf in enumerate(layout.leaves):
        feature, key = _feature_at(kept.features, leaf.source), "/".join(leaf.source)
        if feature is not None and is_image(feature):
            image = Image(key, leaf.shape[-1] or 3, feature.np_dtype)
            fixed = None not in leaf.shape
            quick.append((i, leaf, None if fixed else image.read, image if fixed else None))
        elif feature is not None and is_plain(feature) and leaf.shape.count(None) <= 1:
            quick.append((i, leaf, _plain_reader(key, leaf), None))
        else:
            rest_leaves.append((i, leaf))
    names = dict.fromkeys(leaf.source[0] for _, leaf in rest_leaves)
    rest = tfds.features.FeaturesDict({n: kept.features[n] for n in names}) if names else None
    return NumpyDecoder(layout, quick, rest, rest_leaves)


def _feature_at(features: Any, path: tuple[str, ...]) -> Any:
    """Return the feature at a path of nested dicts, or None where it lies in something else."""
    for key in path:
        if not isinstance(features, tfds.features.FeaturesDict):
            return None
        features = features[key]
    return features


def _plain_reader(key: str, leaf: Leaf) -> Read:
    kind, dtype = _LISTS.get(leaf.dtype.kind, ""), leaf.dtype
    if not leaf.shape:

        def read_one(fields: Any) -> Any:
            return getattr(fields[key], kind).value[0]

        return read_one
    shape = [-1 if size is None else size for size in leaf.shape]

    def read_many(fields: Any) -> Any:
        return np.array(getattr(fields[key], kind).value, dtype).reshape(shape)

    return read_many
