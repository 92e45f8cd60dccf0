"""TensorFlow Datasets as sources for Penstock."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_tfds.bad_records import BadRecord
    from penstock_tfds.config import TFDSEagerConfig, TFDSStreamingConfig
    from penstock_tfds.eager import TFDSEagerSource
    from penstock_tfds.factory import from_tfds
    from penstock_tfds.streaming import TFDSStreamingSource

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
        raise AttributeError(f"module 'penstock_tfds' has no attribute {name!r}")
    return getattr(import_module(f"penstock_tfds.{_MODULES[name]}"), name)
