"""Feed JAX programs: components by name, pipelines by config, exact resume.

Importing this package imports neither JAX nor numpy; each name below does when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.assemble import build, load
    from penstock.catalog import (
        adopt,
        available,
        refresh,
        register,
        registered,
        temporary,
        unregister,
    )
    from penstock.columns import column
    from penstock.component import Component, Health, hookimpl
    from penstock.config import SamplerConfig, StructuralConfig
    from penstock.errors import (
        AmbiguousNameError,
        BrokenPluginError,
        ConfigError,
        DataError,
        DeprecatedWarning,
        DisabledError,
        IncompatiblePluginError,
        NotInstalledError,
        PenstockError,
        PluginWarning,
        Problem,
        StallWarning,
        StateError,
        UnknownComponentError,
    )
    from penstock.module import BatcherModule, Module, StructuralModule
    from penstock.pipeline import Pipeline
    from penstock.placement import prefetch_to_device
    from penstock.plan import Step
    from penstock.registry import create
    from penstock.sampler import SamplerModule
    from penstock.source import SourceModule

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
        "PenstockError",
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
    "Health",
    "IncompatiblePluginError",
    "Module",
    "NotInstalledError",
    "PenstockError",
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
        return importlib.import_module(f"penstock.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"penstock.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
