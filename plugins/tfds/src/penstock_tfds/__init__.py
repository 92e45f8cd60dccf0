"""TensorFlow Datasets as sources for Penstock."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_tfds.config import TFDSEagerConfig, TFDSStreamingConfig
    from penstock_tfds.eager import TFDSEagerSource
    from penstock_tfds.streaming import TFDSStreamingSource

__all__ = ["TFDSEagerConfig", "TFDSEagerSource", "TFDSStreamingConfig", "TFDSStreamingSource"]


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name in ("TFDSEagerConfig", "TFDSStreamingConfig"):
        from penstock_tfds import config

        return getattr(config, name)
    if name == "TFDSEagerSource":
        from penstock_tfds import eager

        return eager.TFDSEagerSource
    if name == "TFDSStreamingSource":
        from penstock_tfds import streaming

        return streaming.TFDSStreamingSource
    raise AttributeError(f"module 'penstock_tfds' has no attribute {name!r}")
