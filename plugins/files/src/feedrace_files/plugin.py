"""Declarations of this plugin's components."""

from collections.abc import Iterator
from typing import Any

from feedrace.plugin import Component, hookimpl

FEEDRACE_API = 1


@hookimpl
def feedrace_commands() -> Iterator[Any]:
    from feedrace_files.commands import convert  # imports click

    yield convert


@hookimpl
def feedrace_components() -> Iterator[Component]:
    yield Component(
        kind="source",
        name="text-lines",
        target="feedrace_files.text_lines:TextLinesSource",
        config="feedrace_files.config:TextLinesConfig",
        summary="Text files, a line a record.",
    )
    yield Component(
        kind="source",
        name="image-folder",
        target="feedrace_files.image_folder:ImageFolderSource",
        config="feedrace_files.config:ImageFolderConfig",
        summary="A folder of image files, labelled by its folders or by a CSV file.",
    )
    yield Component(
        kind="source",
        name="tar",
        target="feedrace_files.tar:TarSource",
        config="feedrace_files.config:TarConfig",
        summary="WebDataset shards: tar files, a sample the files of one name.",
    )
    yield Component(
        kind="source",
        name="tfrecord",
        target="feedrace_files.tfrecord:TFRecordSource",
        config="feedrace_files.config:TFRecordConfig",
        summary="TFRecord files of tf.train.Example messages, or of any bytes.",
    )
    yield Component(
        kind="source",
        name="array-record",
        target="feedrace_files.array_record:ArrayRecordSource",
        config="feedrace_files.config:ArrayRecordConfig",
        summary="ArrayRecord files: what feedrace convert writes, Examples, or any bytes.",
    )
