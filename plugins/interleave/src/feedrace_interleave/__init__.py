"""Interleaved schedules for Feedrace: training and evaluation in one stream of steps."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace_interleave.config import (
        CallbackConfig,
        InterleavedSamplerConfig,
        InterleavedSchedulerConfig,
        SamplerIntervalConfig,
    )
    from feedrace_interleave.interleaved_sampler import InterleavedSampler
    from feedrace_interleave.scheduler import InterleavedScheduler

__all__ = [
    "CallbackConfig",
    "InterleavedSampler",
    "InterleavedSamplerConfig",
    "InterleavedScheduler",
    "InterleavedSchedulerConfig",
    "SamplerIntervalConfig",
]
_HOMES = {"InterleavedSampler": "interleaved_sampler", "InterleavedScheduler": "scheduler"}


def __getattr__(name: str) -> Any:
    # Listing names imports the plugin; its code is imported when it is used.
    if name not in __all__:
        raise AttributeError(f"module 'feedrace_interleave' has no attribute {name!r}")
    home = importlib.import_module(f"feedrace_interleave.{_HOMES.get(name, 'config')}")
    globals()[name] = getattr(home, name)
    return globals()[name]
