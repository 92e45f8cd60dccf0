"""Batchers for Penstock: records into batches of static shape with true masks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_batchers.config import DefaultBatcherConfig
    from penstock_batchers.default import DefaultBatcher

__all__ = ["DefaultBatcher", "DefaultBatcherConfig"]


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name == "DefaultBatcherConfig":
        from penstock_batchers import config

        return config.DefaultBatcherConfig
    if name == "DefaultBatcher":
        from penstock_batchers import default

        return default.DefaultBatcher
    raise AttributeError(f"module 'penstock_batchers' has no attribute {name!r}")
