"""Batchers for Penstock: records into batches of static shape with true masks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_batchers.boundaries import choose_boundaries
    from penstock_batchers.bucket import BucketBatcher
    from penstock_batchers.config import (
        BucketBatcherConfig,
        DefaultBatcherConfig,
        MultiRateBatcherConfig,
        PackBatcherConfig,
    )
    from penstock_batchers.default import DefaultBatcher
    from penstock_batchers.multi_rate import MultiRateBatcher
    from penstock_batchers.pack import PackBatcher

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
        raise AttributeError(f"module 'penstock_batchers' has no attribute {name!r}")
    home = importlib.import_module(f"penstock_batchers.{_HOMES.get(name, 'config')}")
    return getattr(home, name)
