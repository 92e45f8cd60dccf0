"""Samplers for Feedrace: which record comes when, as a pure function of position."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_samplers.block_shuffle import BlockShuffleSamplerModule
    from feedrace_samplers.change import change_weights
    from feedrace_samplers.config import (
        BlockShuffleSamplerConfig,
        EpochAwareSamplerConfig,
        MixturePoint,
        MixtureSamplerConfig,
        RangeSamplerConfig,
        ShuffleSamplerConfig,
        SlidingWindowSamplerConfig,
    )
    from feedrace_samplers.epoch_aware import EpochAwareSamplerModule
    from feedrace_samplers.mixture import MixtureSamplerModule
    from feedrace_samplers.range import RangeSamplerModule
    from feedrace_samplers.shuffle import ShuffleSamplerModule
    from feedrace_samplers.sliding_window import SlidingWindowSamplerModule

__all__ = [
    "BlockShuffleSamplerConfig",
    "BlockShuffleSamplerModule",
    "EpochAwareSamplerConfig",
    "EpochAwareSamplerModule",
    "MixturePoint",
    "MixtureSamplerConfig",
    "MixtureSamplerModule",
    "RangeSamplerConfig",
    "RangeSamplerModule",
    "ShuffleSamplerConfig",
    "ShuffleSamplerModule",
    "SlidingWindowSamplerConfig",
    "SlidingWindowSamplerModule",
    "change_weights",
]
_HOMES = {
    "change_weights": "change",
    "EpochAwareSamplerModule": "epoch_aware",
    "ShuffleSamplerModule": "shuffle",
    "RangeSamplerModule": "range",
    "SlidingWindowSamplerModule": "sliding_window",
    "MixtureSamplerModule": "mixture",
    "BlockShuffleSamplerModule": "block_shuffle",
}


def __getattr__(name: str) -> Any:
    # Listing names imports the plugin; its code is imported when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_samplers' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_samplers.{_HOMES.get(name, 'config')}")
    globals()[name] = getattr(home, name)
    return globals()[name]
