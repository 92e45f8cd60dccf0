"""From a mapping to an attrs config, with all its problems at once, and back to plain values."""

import enum
import os
import re
import string
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from functools import partial
from typing import Any

import attrs

from feedrace.config.fields import (
    COMPONENT,
    EXPAND,
    IDENTITY,
    MANY,
    NAMED,
    QUIET,
    REQUIRED,
    ComponentTable,
)
from feedrace.errors import ConfigError, Problem, clipped, did_you_mean, join, text_of

_WORDS = {"object": "dict", "array": "list", "null": "None"}  # of JSON, as Python calls them
ParseComponent = Callable[[str, Any, str], Any]
NameComponent = Callable[[str, Any], Any]


def structure(
    cls: type, mapping: Any, *, path: str = "", parse_component: ParseComponent | None = None
) -> Any:
    """Return an instance of the attrs class `cls` made from `mapping`.

    Values are converted strictly: no int from a string, no bool for an int. Attrs classes may be
    nested as `X`, `X | None`, `tuple[X, ...]`, `list[X]` and `dict[str, X]`. `parse_component` is
    called with (kind, value, path) for fields that hold components. Raises `ConfigError` with
    every unknown key, missing key, wrong type and broken rule, each with its path.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError([Problem(path, f"{clipped(mapping)} is not a table of keys and values")])
    attrs.resolve_types(cls)
    fields = {field.name: field for field in attrs.fields(cls) if field.init}
    problems: list[Problem] = []
    for key in mapping:
        if key not in fields:
            known = ", ".join(sorted(fields)) or "none"
            hint = did_you_mean(key, list(fields)) or f"; known keys: {known}"
            problems.append(Problem(join(path, key), f"unknown key{hint}"))
    values: dict[str, Any] = {}
    faults: dict[str, list[Problem]] = {}  # by field
    for key, field in fields.items():
        where = join(path, key)
        if key in mapping:
            try:
                values[key] = _field_value(mapping[key], field, where, parse_component)
            except ConfigError as error:
                faults[key] = list(error.problems)
        elif field.default is attrs.NOTHING or field.metadata.get(REQUIRED):
            faults[key] = [Problem(where, "missing; it is required")]
    made, failures = None, []
    if all(key not in mapping and fields[key].default is not attrs.NOTHING for key in faults):
        try:  # then the rules between fields can be tried, too
            made = cls(**{fields[key].alias: value for key, value in values.items()})
        except Exception as error:  # noqa: BLE001 (sorted out by `_problems_of`)
            failures = _problems_of(error, path)
    if made is None:  # attrs stops at the first broken rule; report all of them
        broken = {key: _broken(fields[key], value, path) for key, value in values.items()}
        failures = [] if any(broken.values()) else failures
        faults |= broken
    problems += [p for key in fields for p in faults.get(key, ())] + failures
    if problems:
        raise ConfigError(problems)
    return made


def _problems_of(error: Exception, path: str) -> list[Problem]:
    """Return as problems what a rule of a config class raised; re-raise any other error."""
    if isinstance(error, ConfigError):
        return error.at(path)
    if isinstance(error, ValueError | TypeError | OverflowError):  # a rule of a plugin's own
        return [Problem(path, text_of(error))]
    raise error


def _broken(field: "attrs.Attribute[Any]", value: Any, path: str) -> list[Problem]:
    """Return the problems of one field's converter and validator, called as attrs calls them."""
    converter: Any = field.converter
    try:
        if isinstance(converter, attrs.Converter):
            value = converter(value, None, field)  # type: ignore[operator]
        elif converter is not None:
            value = converter(value)
        if field.validator is not None:
            field.validator(None, field, value)
    except Exception as error:  # noqa: BLE001 (sorted out by `_problems_of`)
        return _problems_of(error, path)
    return []


def _field_value(
    value: Any, field: "attrs.Attribute[Any]", path: str, parse_component: ParseComponent | None
) -> Any:
    kind = field.metadata.get(COMPONENT)
    if kind is not None and parse_component is not None:
        if value is None and field.default is None:
            return None
        parse = partial(parse_component, kind)
        many, named = field.metadata[MANY], field.metadata.get(NAMED)
        if named and not (many and isinstance(value, list | tuple)):
            made = _each(_entries(value, path, kind), parse)
            return dict(zip(value, made, strict=True))
        return tuple(_each(_items(value, path), parse)) if many else parse(value, path)
    if field.metadata.get(EXPAND):
        value = _expanded(value, path)
    return _typed(value, path, field.type, parse_component)


def has_nested(annotation: Any) -> bool:
    """Return whether an annotation is an attrs class, or a union or collection with one in it."""
    origin = typing.get_origin(annotation)
    if origin is None:
        return isinstance(annotation, type) and attrs.has(annotation)
    collects = is_union(annotation) or (isinstance(origin, type) and issubclass(origin, Collection))
    return collects and any(map(has_nested, typing.get_args(annotation)))


def is_union(annotation: Any) -> bool:
    """Return whether an annotation is `X | Y`, in either spelling."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _typed(value: Any, path: str, annotation: Any, parse_component: ParseComponent | None) -> Any:
    """Return a value as its annotation asks for it, nested attrs classes made from mappings."""
    if not has_nested(annotation):
        return _converted(value, path, annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        if isinstance(value, annotation):
            return value
        return structure(annotation, value, path=path, parse_component=parse_component)
    if is_union(annotation):
        failures = []
        for choice in sorted(arguments, key=has_nested, reverse=True):
            try:
                return _typed(value, path, choice, parse_component)
            except ConfigError as error:
                failures.append(error)
        raise failures[0]
    inside = arguments[0] if arguments[-1] is Ellipsis else arguments[-1]
    inner = partial(_typed, annotation=inside, parse_component=parse_component)
    if issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            message = f"{clipped(value)} is not a table of keys and values"
            raise ConfigError([Problem(path, message)])
        made = _each([(join(path, key), item) for key, item in value.items()], inner)
        return dict(zip(value, made, strict=True))
    made = _each(_items(value, path), inner)
    return origin(made) if origin in (list, set, frozenset) else tuple(made)


def _items(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return each item of a list with its path."""
    if not isinstance(value, list | tuple):
        message = f"is one {type(value).__name__}; write a list of tables (in TOML, [[{path}]])"
        raise ConfigError([Problem(path, message)])
    return [(f"{path}[{i}]", item) for i, item in enumerate(value)]


def _entries(value: Any, path: str, kind: str) -> list[tuple[str, Any]]:
    """Return each component of a table of them with its path."""
    if not isinstance(value, Mapping) or isinstance(value.get("use"), str):
        one = f"is one {kind}" if isinstance(value, Mapping) else f"is {clipped(value)}"
        example = f'{path} = {{ name = {{ use = "..." }} }}'
        raise ConfigError([Problem(path, f"{one}; write a table of names: {example}")])
    wrong = [name for name in value if not isinstance(name, str) or not name]
    if wrong:
        message = f"has {clipped(wrong[0])} for a name; a name is a non-empty string"
        raise ConfigError([Problem(path, message)])
    return [(join(path, name), item) for name, item in value.items()]


def _each(items: Iterable[tuple[str, Any]], make: Callable[[Any, str], Any]) -> list[Any]:
    """Return `make(item, path)` of all items; raises `ConfigError` with the problems of all."""
    made: list[Any] = []
    problems: list[Problem] = []
    for path, item in items:
        try:
            made.append(make(item, path))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return made


def _expanded(value: Any, path: str) -> Any:
    """Return a path, or a list of paths, with `~` and variables expanded."""
    if isinstance(value, list | tuple):
        return [_expanded(one, f"{path}[{i}]") for i, one in enumerate(value)]
    if not isinstance(value, str | os.PathLike):
        return value
    value = os.fspath(value)
    try:
        return os.path.expanduser(string.Template(value).substitute(os.environ))
    except KeyError as error:
        name = error.args[0]
        message = f"{clipped(value)} needs the environment variable {name}, which is not set"
    except ValueError:
        message = f"{clipped(value)} has a $ that begins no variable; write $$ for a plain $"
    raise ConfigError([Problem(path, message)])


def _unexpanded(value: Any) -> Any:
    """Return what `_expanded` makes a path, or a list of paths, of."""
    return list(map(_unexpanded, value)) if isinstance(value, tuple) else value.replace("$", "$$")


def _converted(value: Any, path: str, annotation: Any) -> Any:
    if annotation is Any and isinstance(value, list | tuple):
        return value  # data of the user's: its tuples stay tuples, and nothing is copied
    import msgspec  # only configs need it; listing and looking up names do not

    try:
        return msgspec.convert(_builtin(value), annotation)
    except AttributeError:  # it takes arrays and ranges for mappings
        message = f"expected another type, got '{type(value).__name__}' ({clipped(value)})"
        raise ConfigError([Problem(path, message)]) from None
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `$")
        reason = reason.replace("Expected", "expected")
        reason = re.sub("`([^`]*)`", lambda types: f"'{_in_python(types[1])}'", reason)
        at = at.rstrip("`")
        if at.startswith("[...]") and isinstance(value, Mapping):  # msgspec leaves out which key
            if len(value) > 1:
                entries = [(path, {key: item}) for key, item in value.items()]
                _each(entries, lambda entry, path: _converted(entry, path, annotation))
            else:
                ((key, value),) = value.items()
                path, at = join(path, key), at.removeprefix("[...]")
        problem = Problem(path + at, f"{reason} ({clipped(value)})")
        raise ConfigError([problem]) from None


def _in_python(types: str) -> str:
    return " | ".join(_WORDS.get(name, name) for name in types.split(" | "))


def _builtin(value: Any) -> Any:
    """Return numpy's scalars as Python's, and a set as a list, also inside lists."""
    if isinstance(value, bool | int | float | str):
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # numpy's
        return value.item()
    if isinstance(value, Set):
        return [_builtin(item) for item in _ordered(value)]
    if isinstance(value, list | tuple):
        return [_builtin(item) for item in value]
    return value


def _ordered(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:  # of several types, which compare with nothing but their own
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def unstructure(
    config: Any,
    *,
    name_component: NameComponent | None = None,
    defaults: bool = False,
    identity_only: bool = False,
) -> dict[str, Any]:
    """Return the fields of `config` that differ from their defaults, as plain values.

    `name_component` is called with (kind, value) for components and returns their mapping.
    `defaults` keeps the fields that are at their defaults, but for those that every config inherits
    and few components use. `identity_only` leaves out fields that
    decide nothing about which records come, such as a folder.
    """
    options = {
        "name_component": name_component, "defaults": defaults, "identity_only": identity_only
    }  # fmt: skip
    mapping: dict[str, Any] = {}
    for field in attrs.fields(type(config)):
        value = getattr(config, field.name)
        if not field.init or (identity_only and not field.metadata.get(IDENTITY, True)):
            continue
        default = default_of(field, config)
        if (not defaults or field.metadata.get(QUIET)) and _is_equal(value, default):
            continue
        kind = field.metadata.get(COMPONENT)
        if kind is not None and name_component is not None and value is not None:
            mapping[field.name] = mapped(partial(name_component, kind), value)
        elif field.metadata.get(EXPAND) and value is not None:
            mapping[field.name] = _unexpanded(value)
        else:
            mapping[field.name] = _plain(value, **options)
    return mapping


def mapped(function: Callable[[Any], Any], components: Any) -> Any:
    """Return what `function` makes of a component, or of each in a list or table of them."""
    if isinstance(components, ComponentTable):
        return {name: function(item) for name, item in components.items()}
    if isinstance(components, tuple | list):
        return [function(item) for item in components]
    return function(components)


def _is_equal(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


def shown_fields(config: Any) -> list[str]:
    """Return `name=value` of the fields of a config that differ from their defaults, for a repr."""
    return [f"{name}={text}" for name, text in shown_values(config).items()]


def shown_values(config: Any) -> dict[str, str]:
    """Return those fields by name, as text; none if it is no config."""
    shown: dict[str, str] = {}
    if not attrs.has(type(config)):
        return shown
    for field in attrs.fields(type(config)):
        value, default = getattr(config, field.name), default_of(field, config)
        if field.repr and not _is_equal(value, default):
            text = field.repr(value) if callable(field.repr) else clipped(value, 80)
            shown[field.name] = text
    return shown


def default_of(field: "attrs.Attribute[Any]", instance: Any = None) -> Any:
    """Return a field's default, or what its factory makes; `attrs.NOTHING` if it has none.

    A factory that takes the instance counts as none if there is no instance.
    """
    default: Any = field.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    if not default.takes_self:
        return default.factory()
    return attrs.NOTHING if instance is None else default.factory(instance)


def _plain(value: Any, **options: Any) -> Any:
    if attrs.has(type(value)):
        return unstructure(value, **options)
    if isinstance(value, tuple | list):
        return [_plain(item, **options) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, **options) for key, item in value.items()}
    if isinstance(value, Set):
        return [_plain(item, **options) for item in _ordered(value)]
    return value.value if isinstance(value, enum.Enum) else _builtin(value)
