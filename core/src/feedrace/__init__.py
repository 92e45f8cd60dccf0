"""Feed JAX programs: components by name, pipelines by config, exact resume.

Importing this package imports neither JAX nor numpy; each name below does when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedrace.assemble import build, load
    from feedrace.catalog import (
        adopt,
        available,
        refresh,
        register,
        registered,
        temporary,
        unregister,
    )
    from feedrace.columns import column
    from feedrace.component import Component, Health, hookimpl
    from feedrace.config import SamplerConfig, StructuralConfig
    from feedrace.errors import (
        AmbiguousNameError,
        BrokenPluginError,
        ConfigError,
        DataError,
        DeprecatedWarning,
        DisabledError,
        FeedraceError,
        IncompatiblePluginError,
        NotInstalledError,
        PluginWarning,
        Problem,
        StallWarning,
        StateError,
        UnknownComponentError,
    )
    from feedrace.module import BatcherModule, Module, StructuralModule
    from feedrace.pipeline import Pipeline
    from feedrace.placement import prefetch_to_device
    from feedrace.plan import Step
    from feedrace.registry import create
    from feedrace.sampler import SamplerModule
    from feedrace.source import SourceModule

_HOMES = {
    "assemble": ("build", "load"),
    "catalog": (
        "adopt",
        "available",
        "refresh",
        "register",
        "registered",
        "temporary",
        "unregister",
    ),
    "columns": ("column",),
    "component": ("Component", "Health", "hookimpl"),
    "config": ("SamplerConfig", "StructuralConfig"),
    "errors": (
        "AmbiguousNameError",
        "BrokenPluginError",
        "ConfigError",
        "DataError",
        "DeprecatedWarning",
        "DisabledError",
        "IncompatiblePluginError",
        "NotInstalledError",
        "FeedraceError",
        "PluginWarning",
        "Problem",
        "StallWarning",
        "StateError",
        "UnknownComponentError",
    ),
    "module": ("BatcherModule", "Module", "StructuralModule"),
    "pipeline": ("Pipeline",),
    "placement": ("prefetch_to_device",),
    "plan": ("Step",),
    "registry": ("create",),
    "sampler": ("SamplerModule",),
    "source": ("SourceModule",),
}
_MODULES = ("errors", "protocols", "shuffle", "specs", "state", *_HOMES)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AmbiguousNameError",
    "BatcherModule",
    "BrokenPluginError",
    "Component",
    "ConfigError",
    "DataError",
    "DeprecatedWarning",
    "DisabledError",
    "FeedraceError",
    "Health",
    "IncompatiblePluginError",
    "Module",
    "NotInstalledError",
    "Pipeline",
    "PluginWarning",
    "Problem",
    "SamplerConfig",
    "SamplerModule",
    "SourceModule",
    "StallWarning",
    "StateError",
    "Step",
    "StructuralConfig",
    "StructuralModule",
    "UnknownComponentError",
    "adopt",
    "available",
    "build",
    "column",
    "create",
    "hookimpl",
    "load",
    "prefetch_to_device",
    "refresh",
    "register",
    "registered",
    "temporary",
    "unregister",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"feedrace.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'feedrace' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"feedrace.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
