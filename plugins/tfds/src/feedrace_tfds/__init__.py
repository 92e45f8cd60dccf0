"""TensorFlow Datasets as sources for Feedrace."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_tfds.bad_records import BadRecord
    from feedrace_tfds.config import TFDSEagerConfig, TFDSStreamingConfig
    from feedrace_tfds.eager import TFDSEagerSource
    from feedrace_tfds.factory import from_tfds
    from feedrace_tfds.streaming import TFDSStreamingSource

__all__ = ["BadRecord", "TFDSEagerConfig", "TFDSEagerSource", "TFDSStreamingConfig",
           "TFDSStreamingSource", "from_tfds"]  # fmt: skip

_MODULES = {
    "BadRecord": "bad_records",
    "TFDSEagerConfig": "config",
    "TFDSEagerSource": "eager",
    "TFDSStreamingConfig": "config",
    "TFDSStreamingSource": "streaming",
    "from_tfds": "factory",
}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in _MODULES:
        raise AttributeError(f"module 'feedrace_tfds' has no attribute {name!r}")
    return getattr(import_module(f"feedrace_tfds.{_MODULES[name]}"), name)
