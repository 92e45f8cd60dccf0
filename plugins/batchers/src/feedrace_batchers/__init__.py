"""Batchers for Feedrace: records into batches of static shape with true masks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_batchers.boundaries import choose_boundaries
    from feedrace_batchers.bucket import BucketBatcher
    from feedrace_batchers.config import (
        BucketBatcherConfig,
        DefaultBatcherConfig,
        MultiRateBatcherConfig,
        PackBatcherConfig,
    )
    from feedrace_batchers.default import DefaultBatcher
    from feedrace_batchers.multi_rate import MultiRateBatcher
    from feedrace_batchers.pack import PackBatcher

__all__ = [
    "BucketBatcher",
    "BucketBatcherConfig",
    "DefaultBatcher",
    "DefaultBatcherConfig",
    "MultiRateBatcher",
    "MultiRateBatcherConfig",
    "PackBatcher",
    "PackBatcherConfig",
    "choose_boundaries",
]
_HOMES = {
    "BucketBatcher": "bucket",
    "DefaultBatcher": "default",
    "MultiRateBatcher": "multi_rate",
    "PackBatcher": "pack",
    "choose_boundaries": "boundaries",
}


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_batchers' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_batchers.{_HOMES.get(name, 'config')}")
    return getattr(home, name)
