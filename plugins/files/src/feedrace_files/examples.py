"""Records of `tf.train.Example`, decoded by what a config declares of their features."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from feedrace.plugin import (
    Arrays,
    ConfigError,
    DataError,
    Failure,
    Layout,
    Leaf,
    Problem,
    Ranges,
    Raw,
    chosen,
    did_you_mean,
    example_class,
)
from feedrace_files.config import Declared, ExampleConfig

_LISTS = {"O": "bytes_list", "f": "float_list"}  # others are in int64_list
_FEATURE_LISTS = 2  # the field of a SequenceExample that an Example lacks


@attrs.frozen
class Feature:
    """What is known of one feature. kind: the list of an Example that holds its values."""

    name: str
    declared: Declared

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The dtype of its arrays: object for bytes and text."""
        name = self.declared.dtype
        return np.dtype(object) if name in ("bytes", "text") else np.dtype(name)

    @property
    def kind(self) -> str:
        """The list of an Example that holds its values."""
        return _LISTS.get(self.dtype.kind, "int64_list")

    @property
    def leaf(self) -> Leaf:
        """How it lies in a batch."""
        return Leaf((self.name,), self.declared.shape, self.dtype)


@attrs.frozen(eq=False)
class ExampleDecoder:
    """Decodes the features that a config declares."""

    features: Sequence[Feature]
    layout: Layout = attrs.field(init=False)

    @layout.default
    def _layout(self) -> Layout:
        return Layout(tuple(feature.leaf for feature in self.features))

    def decode(self, records: Iterable[tuple[int, Raw]], arrays: Arrays) -> list[Failure]:
        """Put raw records into their slots; return which slots failed, and why."""
        parse = example_class().FromString
        puts = [
            (_read(feature), _put(leaf, values))
            for feature, leaf, values in zip(
                self.features, self.layout.leaves, arrays.values, strict=True
            )
        ]
        failures: list[Failure] = []
        for slot, record in records:
            try:
                if not isinstance(record, bytes):
                    raise DataError(record.reason)
                # Nothing of it is kept, so that the next record is parsed into the same memory.
                found = parse(record).features.feature
                for read, put in puts:
                    put(slot, read(found))
            except (DecodeError, ValueError, OverflowError) as error:
                failures.append((slot, error.with_traceback(None)))
        return failures


def _put(leaf: Leaf, values: NDArray[Any]) -> Callable[[int, Any], None]:
    return functools.partial(leaf.put, values, None) if leaf.shape else values.__setitem__


def _read(feature: Feature) -> Callable[[Any], Any]:
    """Return the function that reads a feature's values from those of a record."""
    name, shape, dtype = feature.name, feature.declared.shape, feature.dtype
    is_text, kind = feature.declared.dtype == "text", feature.kind
    known = [-1 if axis is None else axis for axis in shape]

    def stored(found: Any) -> Any:
        if name not in found:
            if None in shape:
                return []
            raise DataError(f"it lacks feature {name!r}")
        values = getattr(found[name], kind).value
        held = None if values else found[name].WhichOneof("kind")
        if held not in (None, kind):
            raise DataError(
                f"feature {name!r} is a {held}, which holds no {feature.declared.dtype}"
            )
        return [value.decode() for value in values] if is_text else values

    def scalar(found: Any) -> Any:
        values = stored(found)
        if len(values) != 1:
            raise DataError(f"feature {name!r} has {len(values)} values, and its shape is ()")
        return values[0]

    def array(found: Any) -> NDArray[Any]:
        values = np.array(stored(found), dtype)
        try:
            return values.reshape(known)
        except ValueError:
            wanted = list(shape)
            message = f"feature {name!r} has {len(values)} values, and its shape is {wanted}"
            raise DataError(message) from None

    return array if shape else scalar


def example_decoder(config: ExampleConfig, records: Ranges, where: str) -> ExampleDecoder:
    """Return the decoder of the features that a config declares and chooses.

    records: of which the first is looked at, for an error before any other is read. where: what
    they are in, for messages.

    Raises `ConfigError` for a feature or column that is not there; `DataError` for records that are
    no Examples.
    """
    declared = config.declared()
    columns = chosen(list(declared), config.columns, "the declared features")
    features = [Feature(name, declared[name]) for name in columns]
    first = next((raw for _, raw in records.read(np.arange(min(1, len(records))))), b"")
    decoder = ExampleDecoder(features)
    if isinstance(first, bytes) and first:
        _check_first(first, features, where)
        failures = decoder.decode([(0, first)], decoder.layout.allocate(1))
        if failures and config.on_error == "raise":
            raise DataError(f"the first record of {where}: {failures[0][1]}; correct `features`")
    return decoder


def _check_first(record: bytes, features: Sequence[Feature], where: str) -> None:
    """Raise an error if the first record contradicts what is declared."""
    try:
        example = example_class().FromString(record)
    except DecodeError as error:
        raise DataError(
            f"the first record of {where} is no tf.train.Example; leave out `features`, to have "
            f"the bytes of each in the field `record`"
        ) from error
    if any(field.field_number == _FEATURE_LISTS for field in UnknownFieldSet(example)):
        raise DataError(
            f"the first record of {where} is a SequenceExample, whose lists of steps are not read; "
            f"write them as features of an Example, or leave out `features`, and parse the bytes "
            f"in the field `record`"
        )
    there = sorted(example.features.feature)
    problems = []
    for feature in features:
        if feature.name not in there and None not in feature.declared.shape:
            near = did_you_mean(feature.name, there)
            message = f"the first record of {where} has no such feature{near}; it has "
            problems.append(
                Problem(f"features.{feature.name}", message + (", ".join(there) or "none"))
            )
        elif feature.name in there:
            held = example.features.feature[feature.name].WhichOneof("kind")
            if held not in (None, feature.kind):
                message = f"{feature.declared.dtype} is not in a {held}, which the first record of "
                problems.append(Problem(f"features.{feature.name}", f"{message}{where} has"))
    if problems:
        raise ConfigError(problems)
