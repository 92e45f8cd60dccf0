"""Components by name: declared by plugins, found, looked up, made and described."""

from feedrace.registry.catalog import (
    adopt,
    available,
    broken_plugins,
    notify,
    refresh,
    register,
    registered,
    resolve,
    scan,
    temporary,
    unregister,
)
from feedrace.registry.making import (
    Use,
    class_name,
    component_of,
    config_class_of,
    create,
    describe,
    instantiate,
    parse,
    shortest_reference,
)

__all__ = [
    "Use",
    "adopt",
    "available",
    "broken_plugins",
    "class_name",
    "component_of",
    "config_class_of",
    "create",
    "describe",
    "instantiate",
    "notify",
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
