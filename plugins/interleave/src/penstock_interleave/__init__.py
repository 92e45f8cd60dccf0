"""Interleaved schedules for Penstock: training and evaluation in one stream of steps."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_interleave.config import CallbackConfig, InterleavedSchedulerConfig
    from penstock_interleave.scheduler import InterleavedScheduler

__all__ = ["CallbackConfig", "InterleavedScheduler", "InterleavedSchedulerConfig"]


def __getattr__(name: str) -> Any:
    # The plugin is imported whenever names are listed; its code only when it is used.
    if name in ("CallbackConfig", "InterleavedSchedulerConfig"):
        from penstock_interleave import config

        return getattr(config, name)
    if name == "InterleavedScheduler":
        from penstock_interleave import scheduler

        return scheduler.InterleavedScheduler
    raise AttributeError(f"module 'penstock_interleave' has no attribute {name!r}")
