"""Components by name: declared by plugins, found, looked up, made and described."""

from feedrace.registry.catalog import refresh, resolve, scan
from feedrace.registry.describing import component_of, describe, filled, shortest_reference
from feedrace.registry.in_code import adopt, register, registered, temporary, unregister
from feedrace.registry.listing import available, broken_plugins
from feedrace.registry.making import ComponentSpec, config_class_of, create, instantiate, parse

__all__ = [
    "ComponentSpec",
    "adopt",
    "available",
    "broken_plugins",
    "component_of",
    "config_class_of",
    "create",
    "describe",
    "filled",
    "instantiate",
    "parse",
    "refresh",
    "register",
    "registered",
    "resolve",
    "scan",
    "shortest_reference",
    "temporary",
    "unregister",
]
