"""How a converted record becomes bytes, and what `feedrace.json` says of the folder it lies in.

`feedrace convert` writes shards, and beside them a document, `feedrace.json`: the `Document` below.
It names the fields of a record, in order, each with its path in the nested record, its dtype and
its shape (None for an axis that varies), and the shards with their counts and digests.

ArrayRecord: a record is one msgpack array with a value for each field, in the document's order:

- numbers: their bytes, little-endian, in C order; if axes vary, an array of the lengths of these
  axes, and then the bytes: `[480, 640, b"..."]`;
- dtype "str" or "bytes": the value as it is; of a shape other than (), an array of the values in C
  order, behind the lengths of the axes that vary: `[2, ["a", "b"]]`.

Parquet: a field is a column of its name, a nested record a struct. The schema's metadata holds
under the key `feedrace` JSON, `{"version": 1, "fields": [...]}`, with the fields as in the
document. With it a field comes back as it was:

- a number without axes, and a text: a plain column;
- axes of fixed length: a fixed-size list of the product of the shape, flat, in C order;
- one axis that varies: a list, flat, in C order; the others say how long the axis is;
- more axes that vary, or one of length 0: a struct of `shape`, a fixed-size list of int64, and of
  `values`, a flat list;
- what Arrow lacks: complex numbers are two floats, one behind the other, as if a last axis had
  length 2; other dtypes, such as bfloat16, are the unsigned integers of the same bits.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec
import numpy as np
from numpy.typing import NDArray

from feedrace.plugin import DataError, LeafSpec, clipped

VERSION = 1
SIDECAR = "feedrace.json"
METADATA_KEY = b"feedrace"
_TEXT: Mapping[str, type] = {"str": str, "bytes": bytes}
Shape = tuple[int | None, ...]
Values = Mapping[str, Any]  # of a record, by dotted name


@attrs.frozen
class Field:
    """One field of a record. dtype: a numpy name, or "str" or "bytes"."""

    path: tuple[str, ...]
    dtype: str
    shape: Shape

    @property
    def name(self) -> str:
        """Its dotted name."""
        return ".".join(self.path)

    @property
    def is_text(self) -> bool:
        """Whether its values are str or bytes."""
        return self.dtype in _TEXT

    @property
    def numpy(self) -> "np.dtype[Any]":
        """The dtype of its arrays; object for text."""
        return np.dtype(object) if self.is_text else dtype_of(self.dtype)

    @property
    def varying(self) -> tuple[int, ...]:
        """Its axes whose length varies."""
        return tuple(axis for axis, length in enumerate(self.shape) if length is None)

    def filled(self, lengths: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a record's array, from the lengths of the axes that vary."""
        found = iter(lengths)
        return tuple(next(found) if length is None else length for length in self.shape)

    def array(self, value: Any) -> NDArray[Any]:
        """Return a value as an array of this shape and dtype, the numbers unchanged.

        Raises `ValueError` for one that does not fit.
        """
        array = np.asarray(value, object) if self.is_text else np.asarray(value)
        if array.ndim != len(self.shape) or any(
            n is not None and n != m for n, m in zip(self.shape, array.shape, strict=True)
        ):
            raise ValueError(f"has shape {list(array.shape)}, not {_shown(self.shape)}")
        if self.is_text:
            wanted: type = _TEXT[self.dtype]
            for one in array.flat:
                if not isinstance(one, wanted):
                    raise ValueError(f"is {clipped(one)}, not {self.dtype}")
            return array
        dtype = self.numpy
        if array.dtype == dtype:
            return array
        with np.errstate(all="ignore"):
            cast = array.astype(dtype)
            same = np.array_equal(
                cast.astype(array.dtype), array, equal_nan=array.dtype.kind in "fc"
            )
            # Python's numbers have no dtype of their own: floats are rounded to that of the field.
            rounded = type(value) is float and dtype.kind in "fV" and bool(np.isfinite(cast))
        if not same and not rounded:
            raise ValueError(f"is {array.dtype} and has values that {dtype} does not hold")
        return cast


@attrs.frozen
class Shard:
    """One file. digest: of the bytes of its records as ArrayRecord has them, for any format."""

    file: str
    records: int
    bytes: int
    digest: str


@attrs.frozen(kw_only=True)
class Document:
    """What `feedrace.json` holds.

    storage: "array-record" or "parquet". bytes: of all shards. digest: of those of the shards.
    left_out: records that could not be read and are in no shard. made_from: the identity of the
    source and the stages that gave them.
    """

    version: int = VERSION
    storage: str
    records: int
    left_out: int
    made_from: str
    bytes: int
    digest: str
    fields: tuple[Field, ...]
    shards: tuple[Shard, ...]


def read_document(text: bytes, origin: str) -> Document:
    """Return a document from its JSON; raise `DataError` with `origin` for one that is not one."""
    try:
        found = msgspec.json.decode(text)
        version = found.get("version") if isinstance(found, dict) else None
        if version != VERSION:
            raise DataError(
                f"{origin} has version {clipped(version)}; this release reads version {VERSION}: "
                f"convert again, or install the release that wrote it"
            )
        document = msgspec.convert(found, Document)
        for field in document.fields:
            _ = field.numpy
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        raise DataError(f"{origin} is damaged ({error}); convert again") from error
    return document


def write_document(document: Document) -> bytes:
    """Return the JSON of a document."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def spec_of(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the nested spec of records of these fields, with the dtypes that were stored."""
    spec: dict[str, Any] = {}
    for field in fields:
        inner = spec
        for key in field.path[:-1]:
            inner = inner.setdefault(key, {})
        inner[field.path[-1]] = LeafSpec(field.shape, field.numpy)
    return spec


def dtype_of(name: str) -> "np.dtype[Any]":
    """Return a numpy dtype by its name, those of JAX's own, such as bfloat16, among them."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        if not hasattr(ml_dtypes, name):
            raise TypeError(f"{clipped(name)} is no dtype that is known here") from None
        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


class Encoder:
    """Turns the values of records into bytes."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._packers = [(field.name, _packer(field)) for field in fields]
        self._encode = msgspec.msgpack.Encoder().encode

    def __call__(self, values: Values) -> bytes:
        """Return the bytes of one record; raise `DataError` for a value that does not fit."""
        return self._encode([pack(values[name]) for name, pack in self._packers])


def _packer(field: Field) -> Callable[[Any], Any]:
    text: type | None = _TEXT.get(field.dtype)
    dtype, shape, varying = field.numpy, field.shape, field.varying

    def pack(value: Any) -> Any:
        if type(value) is text and not shape:
            return value
        if getattr(value, "dtype", None) != dtype or value.shape != shape or text is not None:
            try:
                value = field.array(value)
            except ValueError as error:
                raise DataError(f"field {field.name!r} {error}") from None
        if text is None:
            packed: Any = value.tobytes()
        else:
            packed = [text(one) for one in value.flat]
            if not shape:
                return packed[0]
        return [*(value.shape[axis] for axis in varying), packed] if varying else packed

    return pack


class Decoder:
    """Turns bytes back into values. columns: dotted names of the fields to take; all by default."""

    def __init__(self, fields: Sequence[Field], columns: Sequence[str] | None = None) -> None:
        self._count = len(fields)
        self._decode = msgspec.msgpack.Decoder(list[Any]).decode
        self._wanted = [
            (place, _unpacker(field))
            for place, field in enumerate(fields)
            if columns is None or field.name in columns
        ]
        self.fields = tuple(fields[place] for place, _ in self._wanted)

    def __call__(self, record: bytes) -> list[Any]:
        """Return the values of one record, in the order of `fields`: arrays and text.

        Raises `ValueError` for bytes that are no record of these fields.
        """
        packed = self._decode(record)
        if len(packed) != self._count:
            raise ValueError(f"the record has {len(packed)} fields, not {self._count}")
        try:
            return [unpack(packed[place]) for place, unpack in self._wanted]
        except (TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"the record is damaged: {error}") from error


def decoder(sidecar: bytes, origin: str, columns: Sequence[str] | None = None) -> Decoder:
    """Return what decodes the records beside a `feedrace.json` with this text.

    origin: the path of the file, for messages. Raises `DataError` for one that is damaged.
    """
    return Decoder(read_document(sidecar, origin).fields, columns)


def _unpacker(field: Field) -> Callable[[Any], Any]:
    dtype, varying = field.numpy, len(field.varying)
    if field.is_text and not field.shape:
        wanted: type = _TEXT[field.dtype]
        return lambda packed: _expected(packed, wanted)
    if field.is_text:

        def texts(packed: Any) -> NDArray[Any]:
            *lengths, flat = packed if varying else (packed,)
            array = np.empty(len(flat), object)
            array[:] = flat
            return array.reshape(field.filled(lengths))

        return texts
    if varying:

        def ragged(packed: Any) -> NDArray[Any]:
            *lengths, raw = packed
            return np.frombuffer(raw, dtype).reshape(field.filled(lengths))

        return ragged
    shape = field.filled(())
    return lambda packed: np.frombuffer(packed, dtype).reshape(shape)


def _expected(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        raise ValueError(f"the record holds {clipped(value)} in place of {wanted.__name__}")
    return value


def flat_fields(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield (path, leaf) of a nested record or spec; raise `DataError` for one that is no dict."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat_fields(value, (*path, str(key)))
        elif isinstance(value, list | tuple):
            raise DataError(
                f"field {'.'.join((*path, str(key)))!r} is a {type(value).__name__} of fields, "
                f"which no file holds; make it a dict in a record stage"
            )
        else:
            yield (*path, str(key)), value


def size_of(shape: Shape) -> int:
    """Return the product of the axes that have a fixed length."""
    return math.prod(length for length in shape if length is not None)


def _shown(shape: Shape) -> str:
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
