"""Have components by name: a config parsed and checked, the component made, and back again."""

import contextlib
import warnings
import weakref
from collections.abc import Mapping
from datetime import date, time
from typing import Any

import attrs

from feedrace import protocols
from feedrace.config.fields import structure, unstructure
from feedrace.errors import (
    BrokenPluginError,
    ComponentError,
    ConfigError,
    DeprecatedWarning,
    Problem,
    UnknownComponentError,
    in_words,
)
from feedrace.registry.catalog import (
    adopt,
    available,
    broken_plugins,
    notify,
    refresh,
    register,
    registered,
    resolve,
    temporary,
    unregister,
)
from feedrace.registry.component import Component

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
    "shortest_reference",
    "temporary",
    "unregister",
]


@attrs.frozen
class Use:
    """A component chosen by name, its config parsed and checked, nothing created yet."""

    component: Component
    config: Any


_made_by: dict[int, Component] = {}  # by id of the living object that `instantiate` made


def parse(kind: str, value: Any, path: str = "", defaults: Mapping[str, Any] | None = None) -> Any:
    """Return a `Use` for `{"use": name, ...}`; a live object is returned as it is.

    `defaults` fill fields of those names that the mapping leaves out. Raises `ConfigError` with
    every problem and its path; a failed look-up is its `__cause__`.
    """
    if isinstance(value, str):
        raise ConfigError([Problem(path, f'{value!r} is not a table; write use = "{value}"')])
    if isinstance(value, list | tuple | int | float):
        raise ConfigError(
            [Problem(path, f'{value!r} is not a {kind}; write a table with use = "name"')]
        )
    if value is None or isinstance(value, bytes | set | frozenset | date | time):
        raise ConfigError([Problem(path, f"{value!r} is no {kind}")])
    if not isinstance(value, Mapping):
        return value
    if "use" not in value:
        raise ConfigError([Problem(path, f'no component named; write use = "name" of a {kind}')])
    given = {key: v for key, v in value.items() if key != "use"}
    try:
        component = resolve(kind, value["use"])
        if component.deprecated:
            said = f"{kind} {component.reference!r} is deprecated: {component.deprecated}"
            warnings.warn(said, DeprecatedWarning, stacklevel=2)
        config_class = config_class_of(component)
    except ComponentError as error:
        raise ConfigError([Problem(f"{path}.use" if path else "use", str(error))]) from error
    if config_class is None:
        if given:
            unknown = [Problem(f"{path}.{key}" if path else str(key), "unknown key; "
                       f"{kind} {component.name!r} takes none") for key in given]  # fmt: skip
            raise ConfigError(unknown)
        return Use(component, None)
    names = {field.name for field in attrs.fields(config_class)}
    filled = {key: v for key, v in (defaults or {}).items() if key in names}

    def parse_component(inner_kind: str, inner: Any, inner_path: str) -> Any:
        return parse(inner_kind, inner, inner_path, defaults)

    config = structure(
        config_class, {**filled, **given}, path=path, parse_component=parse_component
    )
    return Use(component, config)


def config_class_of(component: Component) -> Any:
    """Import and return a component's config class, or None where it has none.

    Raises `BrokenPluginError` where it cannot be loaded, is no attrs class, or has a default that
    all configs would share and could change.
    """
    config_class = component.load_config()
    if config_class is None:
        return None
    said = ""
    if not isinstance(config_class, type) or not attrs.has(config_class):
        said = "is not an attrs class"
    else:
        try:
            attrs.resolve_types(config_class)
        except Exception as error:  # noqa: BLE001 (an annotation may be any code of a plugin's)
            said = f"has an annotation that cannot be told: {in_words(error)}"
        for field in attrs.fields(config_class):
            if isinstance(field.default, list | dict | set | bytearray):
                said = (
                    f"has the mutable default {field.default!r} for {field.name}; write "
                    f"attrs.field(factory={type(field.default).__name__}), or a tuple"
                )
    if said:
        raise BrokenPluginError(f"{component.origin}: its config class {config_class!r} {said}")
    return config_class


def instantiate(use: Any, *, num_records: int | None = None, rngs: Any = None) -> Any:
    """Create what a `Use` names; anything else is returned as it is.

    `num_records` fills a config's field of that name that is None; `rngs` goes to components whose
    config is stochastic.
    """
    if not isinstance(use, Use):
        return use
    component, config = use.component, use.config
    arguments: list[Any] = [] if config is None else [config]
    keywords = {}
    if num_records is not None and getattr(config, "num_records", 0) is None:
        arguments = [attrs.evolve(config, num_records=num_records)]
    if getattr(config, "stochastic", False):
        if rngs is None:
            raise ConfigError([Problem("stochastic", "needs random numbers; give a seed (rngs)")])
        keywords["rngs"] = rngs
    target = component.load_target()
    try:
        made = target(*arguments, **keywords)
    except Exception as error:
        error.add_note(f"while creating {component.origin}")
        raise
    wrong = protocols.check(component.kind, made)
    if wrong:
        raise BrokenPluginError(
            f"{component.origin}: its target made {made!r}, which is not a "
            f"{component.kind}: it {wrong}"
        )
    with contextlib.suppress(TypeError):  # not every object can be referred to weakly
        weakref.finalize(made, _made_by.pop, id(made), None)
        _made_by[id(made)] = component
    return made


def create(kind: str, name: str, /, *, rngs: Any = None, **config: Any) -> Any:
    """Create one component by name; `config` holds the fields of its config class.

    Raises the errors of `resolve`, and `ConfigError` with every problem of the fields.
    """
    resolve(kind, name)
    if "use" in config:
        raise ConfigError([Problem("use", "is the name, which is given already")])
    return instantiate(parse(kind, {**config, "use": name}), rngs=rngs)


def component_of(kind: str, value: Any) -> Component:
    """Return the component whose target made `value`; raises `UnknownComponentError`."""
    if isinstance(value, Use):
        return value.component
    if getattr(value, "unnamed", ""):  # it has something that no config can hold
        raise UnknownComponentError(f"the {kind} {class_name(value)} {value.unnamed}")
    made_by = _made_by.get(id(value))
    if made_by is not None:
        return made_by
    for component in available(kind):
        if component.is_target(type(value)):
            return component
    raise UnknownComponentError(
        f"the {kind} {value!r} was not made from a component with a name; "
        f"feedrace.register({kind!r}, name, ...) gives its class one"
    )


def describe(kind: str, value: Any, *, identity_only: bool = False) -> dict[str, Any]:
    """Return the mapping `{"use": name, ...}` that creates an equal of `value`.

    It holds the config's fields that differ from their defaults. With `identity_only`, it tells
    the code, too, by dist, version and target; a part without a name is described by its class,
    and fields that have no say in which records come are left out. Raises `UnknownComponentError`
    where `value` has no name otherwise.
    """
    if isinstance(value, Mapping):
        value = parse(kind, value)
    config = getattr(value, "config", None)
    fields: dict[str, Any] = {}
    if attrs.has(type(config)):

        def name_component(inner_kind: str, inner: Any) -> dict[str, Any]:
            return describe(inner_kind, inner, identity_only=identity_only)

        fields = unstructure(config, name_component=name_component, identity_only=identity_only)
        seed = getattr(config, "seed", None)
        if seed is not None:  # left out, it would be the pipeline's
            fields["seed"] = seed
    try:
        component = component_of(kind, value)
    except UnknownComponentError:
        if not identity_only:
            raise
        return {"class": class_name(value), **fields}
    if identity_only:
        return {"use": component.reference, **_provenance(component), **fields}
    return {"use": shortest_reference(component), **fields}


def shortest_reference(component: Component) -> str:
    """Return the component's name, qualified where another one offers it too."""
    shared = [c for c in available(component.kind) if component.name in (c.name, *c.aliases)]
    return component.name if len(shared) == 1 else component.reference


def _provenance(component: Component) -> dict[str, str]:
    """Return which code of which release a component is, for a state's fingerprint."""
    target = component.target
    origin = {"dist": f"{component.dist} {component.version}"} if component.dist else {}
    return {**origin, "target": target if isinstance(target, str) else class_name(target)}


def class_name(value: Any) -> str:
    """Return `module:name` of a function, or of an object's class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"
