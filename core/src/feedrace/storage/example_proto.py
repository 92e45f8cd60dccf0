"""The protocol buffer that holds a record: `tf.train.Example`.

TensorFlow and TFDS have a class of it, too, but importing them takes a second or more, which each
worker process would pay.
"""

import functools
from typing import Any


@functools.cache
def example_class() -> Any:
    """Return the class of `tf.train.Example`.

    It needs protobuf, which the plugins depend on that read such records.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    lists = {"Bytes": field.TYPE_BYTES, "Float": field.TYPE_FLOAT, "Int64": field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(
        name="feedrace/example.proto", package="feedrace", syntax="proto3"
    )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(lists.items(), 1):
        values = file.message_type.add(name=f"{name}List")
        values.field.add(name="value", number=1, label=field.LABEL_REPEATED, type=kind)
        feature.field.add(
            name=f"{name.lower()}_list",
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".feedrace.{name}List",
            oneof_index=0,
        )

    def add(message: Any, name: str, number: int, of: str, label: int) -> None:
        kind, full = field.TYPE_MESSAGE, f".feedrace.{of}"
        message.field.add(name=name, number=number, label=label, type=kind, type_name=full)

    once, often = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=once, type=field.TYPE_STRING)
    add(entry, "value", 2, "Feature", once)
    add(features, "feature", 1, "Features.FeatureEntry", often)
    add(file.message_type.add(name="Example"), "features", 1, "Features", once)
    pool = descriptor_pool.DescriptorPool()  # our own: TensorFlow and TFDS fill the default one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("feedrace.Example"))
