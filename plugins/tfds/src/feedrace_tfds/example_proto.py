"""The protocol buffer that holds a record: `tf.train.Example`.

TFDS has a class of it, too, but importing TFDS takes a second, which each worker process would pay.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_LISTS = {"Bytes": _Field.TYPE_BYTES, "Float": _Field.TYPE_FLOAT, "Int64": _Field.TYPE_INT64}


def _example_class() -> Any:
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
    _add_message(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()  # our own: TensorFlow and TFDS fill the default one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("feedrace.Example"))


def _add_message(
    message: Any, name: str, number: int, of: str, label: Any = _Field.LABEL_OPTIONAL
) -> None:
    message.field.add(
        name=name, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=f".feedrace.{of}"
    )


Example = _example_class()
