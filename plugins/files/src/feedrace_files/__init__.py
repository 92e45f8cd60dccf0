"""Image folders, text lines, tar shards, ArrayRecord and TFRecord files for Feedrace."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_files.array_record import ArrayRecordSource
    from feedrace_files.config import (
        ArrayRecordConfig,
        ImageFolderConfig,
        TarConfig,
        TextLinesConfig,
        TFRecordConfig,
    )
    from feedrace_files.image_folder import ImageFolderSource
    from feedrace_files.tar import TarSource
    from feedrace_files.text_lines import TextLinesSource
    from feedrace_files.tfrecord import TFRecordSource

__all__ = ["ArrayRecordConfig", "ArrayRecordSource", "ImageFolderConfig", "ImageFolderSource",
           "TFRecordConfig", "TFRecordSource", "TarConfig", "TarSource", "TextLinesConfig",
           "TextLinesSource"]  # fmt: skip
_HOMES = {
    "ArrayRecordSource": "array_record",
    "ImageFolderSource": "image_folder",
    "TFRecordSource": "tfrecord",
    "TarSource": "tar",
    "TextLinesSource": "text_lines",
}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_files' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_files.{_HOMES.get(name, 'config')}")
    return getattr(home, name)
