"""Decoding without TensorFlow, record by record; image decoders let other threads run."""

import itertools
import operator
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from feedrace.plugin import DataError
from feedrace_tfds.example_proto import Example
from feedrace_tfds.images import decode_image, image_decoder
from feedrace_tfds.layout import Arrays, Layout, Shape
from feedrace_tfds.shards import Raw

_LISTS = {"f": "float_list", "i": "int64_list", "u": "int64_list", "b": "int64_list",
          "O": "bytes_list"}  # fmt: skip
# What the parsers and decoders raise for a record that is not what its features promise.
UNDECODABLE = (DecodeError, AttributeError, LookupError, OSError, OverflowError, RuntimeError,
               TypeError, ValueError, zlib.error, DataError)  # fmt: skip

Failure = tuple[int, Exception]  # the slot of a record, and why it could not be decoded
Features = Any  # of one stored record, by key
Read = Callable[[Features], Any]


@attrs.frozen(eq=False)
class NumpyDecoder:
    """Decodes raw records of one dataset into arrays.

    images: leaf number and key of each image of known shape.
    reads: for each other leaf, its number and the function that gives a record's values.
    """

    layout: Layout
    images: Sequence[tuple[int, str]]
    reads: Sequence[tuple[int, Read]]

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
        # Images go one by one with the parsing, so that Python's global lock is never held for
        # long; the rest goes field by field, which costs less for each record.
        parse, stored = Example.FromString, []
        images = [(key, image_decoder(arrays.values[i])) for i, key in self.images]
        for slot, record in enumerate(raw, first):
            features = parse(record).features.feature
            for key, decode in images:
                decode(features[key].bytes_list.value[0], slot)
            stored.append(features)
        for i, read in self.reads:
            values, lengths, leaf = arrays.values[i], arrays.lengths[i], self.layout.leaves[i]
            if isinstance(read, Scalar):
                values[first : first + len(stored)] = read.of_all(stored)
                continue
            for slot, features in enumerate(stored, first):
                leaf.put(values, lengths, slot, read(features))

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


@attrs.frozen
class Scalar:
    """Reads a number or string."""

    key: str
    dtype: "np.dtype[Any]"

    def __call__(self, features: Features) -> Any:
        return getattr(features[self.key], _LISTS[self.dtype.kind]).value[0]

    def of_all(self, stored: Sequence[Features]) -> list[Any]:
        """Return the values of several records."""
        key, value_of = self.key, operator.attrgetter(f"{_LISTS[self.dtype.kind]}.value")
        return [value_of(features[key])[0] for features in stored]


@attrs.frozen
class Tensor:
    """Reads a list as an array; at most one axis varies."""

    key: str
    shape: Shape
    dtype: "np.dtype[Any]"

    def __call__(self, features: Features) -> NDArray[Any]:
        values = getattr(features[self.key], _LISTS[self.dtype.kind]).value
        return np.array(values, self.dtype).reshape(_known(self.shape))


@attrs.frozen
class Packed:
    """Reads a tensor that is stored as bytes, or as numbers of another dtype or shape.

    value: reads what is stored.
    sizes: reads the record's true shape, if that is stored too.
    shape, dtype: of the tensor.
    encoding: "none", "bytes" or "zlib".
    """

    value: Scalar | Tensor
    sizes: Tensor | None
    shape: Shape
    dtype: "np.dtype[Any]"
    encoding: str

    def __call__(self, features: Features) -> Any:
        value: Any = self.value(features)
        shape = self.shape
        if self.sizes is not None:
            true = self.sizes(features).tolist()
            shape = tuple(n if size is None else size for n, size in zip(true, shape, strict=True))
        if self.encoding != "none":
            stored = zlib.decompress(value) if self.encoding == "zlib" else value
            value = np.frombuffer(stored, self.dtype)
        elif self.dtype == np.uint64:  # its bits are stored as int64
            value = np.asarray(value, np.int64).view(np.uint64)
        return value.reshape(_known(shape)) if isinstance(value, np.ndarray) else value


@attrs.frozen
class NestedLists:
    """Reads a sequence of sequences as lists of lists of arrays, `varying` deep."""

    key: str
    shape: Shape
    dtype: "np.dtype[Any]"

    def __call__(self, features: Features) -> Any:
        varying = self.shape.count(None)
        flat = Tensor(f"{self.key}/ragged_flat_values", (None, *self.shape[varying:]), self.dtype)
        values: Any = flat(features)
        for level in reversed(range(varying - 1)):
            lengths = features[f"{self.key}/ragged_row_lengths_{level}"].int64_list.value
            ends = np.cumsum([0, *lengths])
            values = [values[i:j] for i, j in itertools.pairwise(ends.tolist())]
        return values


@attrs.frozen
class Image:
    """Reads one image of any size."""

    key: str
    channels: int
    dtype: "np.dtype[Any]"

    def __call__(self, features: Features) -> Any:
        encoded = features[self.key].bytes_list.value[0]
        return decode_image(encoded, self.channels, self.dtype)


@attrs.frozen
class Images:
    """Reads a list of images of one shape."""

    key: str
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"

    def __call__(self, features: Features) -> NDArray[Any]:
        encoded = features[self.key].bytes_list.value
        images = np.empty((len(encoded), *self.shape), self.dtype)
        decode = image_decoder(images)
        for number, one in enumerate(encoded):
            decode(one, number)
        return images


def _known(shape: Shape) -> list[int]:
    return [-1 if size is None else size for size in shape]
