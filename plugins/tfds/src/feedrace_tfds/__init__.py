"""TensorFlow Datasets as sources for Feedrace."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace.plugin import BadRecord
    from feedrace_tfds.config import TFDSEagerConfig, TFDSStreamingConfig
    from feedrace_tfds.eager import TFDSEagerSource
    from feedrace_tfds.factory import from_tfds
    from feedrace_tfds.streaming import TFDSStreamingSource

__all__ = ["BadRecord", "TFDSEagerConfig", "TFDSEagerSource", "TFDSStreamingConfig",
           "TFDSStreamingSource", "from_tfds"]  # fmt: skip

_MODULES = {
    "BadRecord": "feedrace.plugin",
    "TFDSEagerConfig": "feedrace_tfds.config",
    "TFDSEagerSource": "feedrace_tfds.eager",
    "TFDSStreamingConfig": "feedrace_tfds.config",
    "TFDSStreamingSource": "feedrace_tfds.streaming",
    "from_tfds": "feedrace_tfds.factory",
}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in _MODULES:
        raise AttributeError(f"module 'feedrace_tfds' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
