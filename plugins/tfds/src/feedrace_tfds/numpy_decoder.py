"""Decoding without TensorFlow, record by record; image decoders let other threads run."""

import functools
import itertools
import operator
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from feedrace.plugin import Arrays, DataError, Failure, Layout, Raw, example_class
from feedrace_tfds.images import image_decoder

_LISTS = {"f": "float_list", "i": "int64_list", "u": "int64_list", "b": "int64_list",
          "O": "bytes_list"}  # fmt: skip
# What the parsers and decoders raise for a record that is not what its features promise.
UNDECODABLE = (DecodeError, AttributeError, EOFError, LookupError, MemoryError, OSError,
               OverflowError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error,
               zlib.error, DataError)  # fmt: skip

Shape = tuple[int | None, ...]  # None for an axis that varies
Features = Any  # of one stored record, by key
Read = Callable[[Features], Any]
Unpack = Callable[[bytes], Any]


@attrs.frozen(eq=False)
class NumpyDecoder:
    """Decodes raw records of one dataset into arrays.

    images: for each leaf that is one encoded image, its number, its key, and the function that
        makes its values of the encoded bytes; None for an image of known shape, which is decoded
        straight into its place.
    reads: for each other leaf, its number and the function that gives a record's values.
    """

    layout: Layout
    images: Sequence[tuple[int, str, Unpack | None]]
    reads: Sequence[tuple[int, Read]]

    way = "without TensorFlow"

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        parse = example_class().FromString
        images = [(key, self._image(arrays, leaf, unpack)) for leaf, key, unpack in self.images]
        puts = [(read, self._put(arrays, leaf)) for leaf, read in self.reads]
        failures: list[Failure] = []
        for slot, record in records:
            try:
                if not isinstance(record, bytes):
                    raise DataError(record.reason)
                # Nothing of it is kept, so that the next record is parsed into the same memory.
                features = parse(record).features.feature
                for key, put_image in images:
                    put_image(slot, features[key].bytes_list.value[0])
                for read, put in puts:
                    put(slot, read(features))
            except IndexError:
                failures.append((slot, DataError("it lacks one of its features")))
            except UNDECODABLE as error:
                failures.append((slot, error.with_traceback(None)))
        return failures

    def _image(
        self, arrays: Arrays, leaf: int, unpack: Unpack | None
    ) -> Callable[[int, bytes], Any]:
        if unpack is None:
            return image_decoder(arrays.values[leaf])
        put = self._put(arrays, leaf)
        return lambda slot, encoded: put(slot, unpack(encoded))

    def _put(self, arrays: Arrays, number: int) -> Callable[[int, Any], None]:
        """Return the function that puts a record's values of a leaf into a slot."""
        leaf, values, lengths = (
            self.layout.leaves[number],
            arrays.values[number],
            arrays.lengths[number],
        )
        if not leaf.shape:
            return values.__setitem__
        return functools.partial(leaf.put, values, lengths)


@attrs.frozen
class Scalar:
    """Reads a number or string."""

    key: str
    dtype: "np.dtype[Any]"

    _values: Callable[[Any], Any] = attrs.field(init=False)

    @_values.default
    def _values_of_kind(self) -> Callable[[Any], Any]:
        return operator.attrgetter(f"{_LISTS[self.dtype.kind]}.value")

    def __call__(self, features: Features) -> Any:
        return self._values(features[self.key])[0]


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
            decode(number, one)
        return images


def _known(shape: Shape) -> list[int]:
    return [-1 if size is None else size for size in shape]
