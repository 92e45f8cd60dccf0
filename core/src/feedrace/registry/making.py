"""From a mapping that names a component to its checked spec, and on to the component itself."""

import contextlib
import re
import warnings
import weakref
from collections.abc import Mapping, Sequence, Set
from datetime import date, time
from functools import partial
from numbers import Number
from typing import Any

import attrs

from feedrace import errors, protocols
from feedrace.config.fields import COMPONENT, OWN
from feedrace.config.mapping import structure
from feedrace.errors import BrokenPluginError, ComponentError, ConfigError, Problem, clipped
from feedrace.protocols.containers import as_source, source_line
from feedrace.registry.catalog import resolve
from feedrace.registry.component import Component


@attrs.frozen
class ComponentSpec:
    """A component chosen by name, with its checked config; nothing is created yet."""

    component: Component = attrs.field(repr=lambda component: component.reference)
    config: Any


made_by: dict[int, Component] = {}  # by the id of each living object that `instantiate` made


def parse(kind: str, value: Any, path: str = "", defaults: Mapping[str, Any] | None = None) -> Any:
    """Return a `ComponentSpec` for `{"use": name, ...}`, and a live object as it is.

    Data in the place of a source stands for the source that reads it.

    `defaults` that are not None fill fields of those names that the mapping leaves out. Raises
    `ConfigError` with every problem and its path; a failed look-up is its `__cause__`.
    """
    if kind == "source":
        try:
            value = as_source(value)
        except ConfigError as error:
            raise ConfigError(error.at(path)) from None
    if isinstance(value, str):
        line = f'write use = "{value[:80]}" in one, as in {{ use = "{value[:80]}" }}'
        if kind == "source" and re.search(r"[./]", value):
            line = 'name the source that reads it, as in { use = "parquet", path = "..." }'
        raise ConfigError([Problem(path, f"{clipped(value)} is not a table; {line}")])
    if value is None or isinstance(value, Number | Sequence | Set | date | time):
        message = f'{clipped(value)} is not a {kind}; write a table with use = "name"'
        raise ConfigError([Problem(path, message)])
    if not isinstance(value, Mapping):
        return value
    if "use" not in value:
        message = f'no component named; write use = "name" of a {kind}'
        if kind == "source" and any(hasattr(column, "__len__") for column in value.values()):
            message += f", or in Python {source_line(value)}"
        raise ConfigError([Problem(path, message)])
    given = {key: v for key, v in value.items() if key != "use"}
    try:
        component = resolve(kind, value["use"])
        if component.deprecated:
            message = f"{kind} {component.reference!r} is deprecated: {component.deprecated}"
            warnings.warn(message, errors.DeprecatedWarning, stacklevel=2)
        config_class = config_class_of(component)
    except ComponentError as error:
        raise ConfigError([Problem(errors.join(path, "use"), str(error))]) from error
    if config_class is None:
        message = f"unknown key; {kind} {component.name!r} takes none"
        if given:
            raise ConfigError([Problem(errors.join(path, key), message) for key in given])
        return ComponentSpec(component, None)
    names = {f.name for f in attrs.fields(config_class) if not f.metadata.get(OWN)}
    filled = {k: v for k, v in (defaults or {}).items() if k in names and v is not None}
    inner = partial(parse, defaults=defaults)
    config = structure(config_class, {**filled, **given}, path=path, parse_component=inner)
    return ComponentSpec(component, config)


def config_class_of(component: Component) -> Any:
    """Import and return a component's config class, or None if it takes no config.

    Raises `BrokenPluginError` if it does not load, is not an attrs class, has an annotation that
    does not resolve, or has a default that all configs would share and could change.
    """
    config_class = component.load_config()
    if config_class is None:
        return None
    whose = f"{component.origin}: its config class {clipped(config_class)}"
    if not isinstance(config_class, type) or not attrs.has(config_class):
        raise BrokenPluginError(f"{whose} is not an attrs class")
    try:
        attrs.resolve_types(config_class)
    except Exception as error:  # an annotation may be any code
        fault = f"has an annotation that does not resolve: {errors.in_words(error)}"
        raise BrokenPluginError(f"{whose} {fault}") from error
    for field in attrs.fields(config_class):
        if isinstance(field.default, list | dict | set | bytearray):
            fix = f"write attrs.field(factory={type(field.default).__name__}), or a tuple"
            fault = f"has the mutable default {clipped(field.default)} for {field.name}"
            raise BrokenPluginError(f"{whose} {fault}", fix=fix)
    return config_class


def instantiate(spec: Any, *, num_records: int | None = None, rngs: Any = None) -> Any:
    """Create what a `ComponentSpec` describes; anything else is returned as it is.

    `num_records` fills a config's field of that name that is None; `rngs` goes to components whose
    config is stochastic. Components in its config come first, but samplers.

    Raises `ConfigError` if such a config gets no `rngs`, `BrokenPluginError` if the result lacks
    what its kind needs, and what the component raises.
    """
    if not isinstance(spec, ComponentSpec):
        return spec
    component, config = spec.component, _with_components(spec.config, rngs)
    if num_records is not None and getattr(config, "num_records", 0) is None:
        config = attrs.evolve(config, num_records=num_records)
    keywords = {}
    if getattr(config, "stochastic", False):
        if rngs is None:
            raise ConfigError([Problem("stochastic", "needs random numbers; give a seed (rngs)")])
        keywords["rngs"] = rngs
    target = component.load_target()
    try:
        made = target(**keywords) if config is None else target(config, **keywords)
    except Exception as error:
        error.add_note(f"while creating {component.origin}")
        raise
    fault = protocols.check(component.kind, made)
    if fault:
        message = f"its target made {clipped(made)}, which is not a {component.kind}: it {fault}"
        raise BrokenPluginError(f"{component.origin}: {message}")
    with contextlib.suppress(TypeError):  # not every object supports weak references
        weakref.finalize(made, made_by.pop, id(made), None)
        made_by[id(made)] = component
    return made


def _with_components(config: Any, rngs: Any) -> Any:
    """Return a config with its components made, but for samplers.

    Raises `ConfigError` with the problems of all of them.
    """
    if not attrs.has(type(config)):
        return config
    made: dict[str, Any] = {}
    problems: list[Problem] = []
    causes: list[BaseException] = []

    def make(value: Any, path: str) -> Any:
        try:
            return instantiate(value, rngs=rngs)
        except ConfigError as error:
            problems.extend(error.at(path))
            causes.append(error.__cause__ or error)
        except errors.DataError as error:
            problems.append(Problem(path, errors.text_of(error)))
            causes.append(error)
        return value

    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if field.metadata.get(COMPONENT, "sampler") == "sampler" or value is None:
            continue
        if isinstance(value, dict):
            items = {
                name: make(part, errors.join(field.name, name)) for name, part in value.items()
            }
            made[field.name] = items
        elif isinstance(value, tuple | list):
            made[field.name] = [make(p, f"{field.name}[{i}]") for i, p in enumerate(value)]
        else:
            made[field.name] = make(value, field.name)
    if problems:
        raise ConfigError(problems) from causes[0]
    return attrs.evolve(config, **made) if made else config


def create(kind: str, name: str, /, *, rngs: Any = None, **config: Any) -> Any:
    """Create one component by name; `config` holds the fields of its config class.

    Raises the errors of `resolve`, and `ConfigError` with every problem of the fields.
    """
    resolve(kind, name)
    if "use" in config:
        raise ConfigError([Problem("use", "is the component's name, which is given already")])
    return instantiate(parse(kind, {**config, "use": name}), rngs=rngs)
