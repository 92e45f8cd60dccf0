"""Samplers for Penstock: which record comes when, as a pure function of position."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_samplers.config import EpochAwareSamplerConfig
    from penstock_samplers.epoch_aware import EpochAwareSamplerModule

__all__ = ["EpochAwareSamplerConfig", "EpochAwareSamplerModule"]


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name == "EpochAwareSamplerConfig":
        from penstock_samplers import config

        return config.EpochAwareSamplerConfig
    if name == "EpochAwareSamplerModule":
        from penstock_samplers import epoch_aware

        return epoch_aware.EpochAwareSamplerModule
    raise AttributeError(f"module 'penstock_samplers' has no attribute {name!r}")
