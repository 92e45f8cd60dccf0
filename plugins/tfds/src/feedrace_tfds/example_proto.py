"""The protocol buffer that holds a record: `tf.train.Example`.

TFDS has a class of it, too, but importing TFDS takes a second, which each worker process would pay.
"""

from collections.abc import Collection
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_LISTS = {"Bytes": _Field.TYPE_BYTES, "Float": _Field.TYPE_FLOAT, "Int64": _Field.TYPE_INT64}
_FIRST, _SECOND = 0x0A, 0x12  # tags of a message's fields 1 and 2, if they have a length


def _features_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="feedrace/example.proto", package="feedrace", syntax="proto3"
    )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_LISTS.items(), 1):
        values = file.message_type.add(name=f"{name}List")
        values.field.add(name="value", number=1, label=_Field.LABEL_REPEATED, type=kind)
        feature.field.add(
            name=f"{name.lower()}_list",
            number=number,
            label=_Field.LABEL_OPTIONAL,
            type=_Field.TYPE_MESSAGE,
            type_name=f".feedrace.{name}List",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
    _add_message(entry, "value", 2, "Feature")
    _add_message(features, "feature", 1, "Features.FeatureEntry", _Field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()  # our own: TensorFlow and TFDS fill the default one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("feedrace.Features"))


def _add_message(
    message: Any, name: str, number: int, of: str, label: Any = _Field.LABEL_OPTIONAL
) -> None:
    message.field.add(
        name=name, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=f".feedrace.{of}"
    )


_Features = _features_class()


def parse(features: bytes) -> Any:
    """Return a mapping of key to feature; raise `DecodeError` if it is no `tf.train.Features`."""
    return _Features.FromString(features).feature


def cut(example: bytes, keys: Collection[bytes]) -> tuple[dict[bytes, bytes], bytes]:
    """Return the single bytes values of these features by key, and the other features to `parse`.

    Parsing a large value copies it twice, into memory that comes from the system each time. Raises
    `ValueError` for what is no `tf.train.Example`, and for a key that it lacks.
    """
    found: dict[bytes, bytes] = {}
    try:
        at = _after_size(example, 0)
        if example[0] != _FIRST or _size(example, 1) != len(example) - at:
            raise _no_example()
        others, begin = b"", at
        while len(found) < len(keys):
            entry, size = at, example[at + 1]
            at += 2
            if size > 127:
                size, at = _size(example, at - 1), _after_size(example, at - 2)
            stop, key_end = at + size, at + 2 + example[at + 1]  # a key is shorter than 128 bytes
            if example[entry] != _FIRST or example[at] != _FIRST or stop > len(example):
                raise _no_example()
            key = example[at + 2 : key_end]
            at = stop
            if key in keys:
                others += example[begin:entry]
                begin = at
                found[key] = _single(example, key_end, stop)
        return found, others + example[begin:]
    except IndexError:  # the end was reached
        missing = sorted(key.decode() for key in keys if key not in found)
        raise ValueError(f"it has no feature {missing[0]!r}") from None


def _single(example: bytes, at: int, end: int) -> bytes:
    """Return the only bytes of the feature at `at`, which is the value of a map's entry."""
    if example[at] == _SECOND:  # the feature's tag, and then those of its list and of the bytes
        at = _after_size(example, at)
        if at < end and example[at] == _FIRST:
            at = _after_size(example, at)
            begin = _after_size(example, at)
            if example[at] == _FIRST and begin + _size(example, at + 1) == end:
                return example[begin:end]
    raise ValueError("a feature is not one bytes value")


def _after_size(example: bytes, at: int) -> int:
    """Return where a field begins whose tag is at `at`, after its size."""
    at += 1
    while example[at] > 127:
        at += 1
    return at + 1


def _size(example: bytes, at: int) -> int:
    """Return the size that is written at `at`."""
    size = shift = 0
    while True:
        byte = example[at]
        size |= (byte & 127) << shift
        if byte < 128:
            return size
        at, shift = at + 1, shift + 7


def _no_example() -> ValueError:
    return ValueError("it is no serialized tf.train.Example")
