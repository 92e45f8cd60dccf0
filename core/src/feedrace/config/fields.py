"""Config classes, and the way from a mapping to one with all its problems told at once."""

import enum
import math
import os
import string
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from feedrace.errors import ConfigError, Problem, did_you_mean, join

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]
ParseComponent = Callable[[str, Any, str], Any]

COMPONENT = "feedrace_component"
MANY = "feedrace_many"
REQUIRED = "feedrace_required"
IDENTITY = "feedrace_identity"
EXPAND = "feedrace_expand"


def _ruled(validator: Validator, **schema: Any) -> Validator:
    """Return the validator, which carries the JSON Schema of its rule; None is left out of it."""
    known = {key: value for key, value in schema.items() if value is not None}
    validator.schema = known  # type: ignore[attr-defined]
    return validator


def check_integer(
    name: str, value: Any, minimum: int | None = None, maximum: int | None = None
) -> None:
    """Raise `ConfigError` where `value` is not an int (no bool) from `minimum` to `maximum`."""
    rule = "an int"
    if minimum is not None and maximum is not None:
        rule += f" from {minimum} to {maximum}"
    elif minimum is not None:
        rule += f" of {minimum} or more"
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or (minimum is not None and value < minimum)
        or (maximum is not None and value > maximum)
    ):
        raise ConfigError([Problem(name, f"{value!r} is not {rule}")])


def integer(
    minimum: int | None = None, maximum: int | None = None, *, optional: bool = False
) -> Validator:
    """Return an attrs validator that does what `check_integer` does."""

    def validate(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not (optional and value is None):
            check_integer(attribute.name, value, minimum, maximum)

    return _ruled(validate, minimum=minimum, maximum=maximum)


def epochs(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check, as an attrs validator, for a number of epochs: 1 or more, or -1 for no end."""
    check_integer(attribute.name, value, -1)
    if value == 0:
        raise ConfigError([Problem(attribute.name, "0 is neither 1 or more nor -1 (endless)")])


_ruled(epochs, **{"minimum": -1, "not": {"const": 0}})


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, and anything else as it is: a converter for attrs fields."""
    return tuple(value) if isinstance(value, list) else value


def boolean(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check, as an attrs validator, for True or False and nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise ConfigError([Problem(attribute.name, f"{value!r} is neither true nor false")])


def text(*, optional: bool = False) -> Validator:
    """Return an attrs validator for a string that is not empty."""

    def validate(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not (optional and value is None) and not (isinstance(value, str) and value):
            raise ConfigError([Problem(attribute.name, f"{value!r} is not a non-empty string")])

    return _ruled(validate, minLength=1)


def number(minimum: float = -math.inf, maximum: float = math.inf) -> Validator:
    """Return an attrs validator for a finite number from `minimum` to `maximum`."""
    bounded = math.isfinite(minimum) or math.isfinite(maximum)
    rule = "a finite number" + (f" from {minimum} to {maximum}" if bounded else "")

    def validate(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        # An int beyond all floats is as little use as an infinite number.
        good = good and -sys.float_info.max <= value <= sys.float_info.max
        if not good or not minimum <= value <= maximum:
            raise ConfigError([Problem(attribute.name, f"{value!r} is not {rule}")])

    limits = {"minimum": minimum, "maximum": maximum}
    return _ruled(validate, **{k: v for k, v in limits.items() if math.isfinite(v)})


def one_of(*choices: str) -> Validator:
    """Return an attrs validator for one of the given strings."""

    def validate(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value not in choices:
            hint = did_you_mean(str(value), choices)
            raise ConfigError(
                [Problem(attribute.name, f"{value!r} is none of {', '.join(choices)}{hint}")]
            )

    return _ruled(validate, enum=list(choices))


@attrs.frozen(kw_only=True)
class StructuralConfig:
    """Fields that every structural module understands; frozen, and checked when it is made.

    cacheable: keep what a call gives for equal hashable arguments, until `reset_cache`.
    batch_stats_fn: function of some data to a dict of statistics, for `compute_statistics`.
    precomputed_stats: statistics known beforehand.
    stochastic: the module draws random numbers, from the stream `stream_name` of its `rngs`.

    Raises `ConfigError` where exactly one of `stochastic` and `stream_name` is set.
    """

    cacheable: bool = attrs.field(default=False, validator=boolean, metadata={IDENTITY: False})
    batch_stats_fn: Any = attrs.field(default=None, metadata={IDENTITY: False})
    precomputed_stats: dict[str, Any] | None = attrs.field(
        default=None, eq=False, metadata={IDENTITY: False}
    )
    stochastic: bool = attrs.field(default=False, validator=boolean)
    stream_name: str | None = attrs.field(default=None, validator=text(optional=True))

    def __attrs_post_init__(self) -> None:
        if self.stochastic and self.stream_name is None:
            raise ConfigError([Problem("stream_name", "missing; stochastic = true needs it")])
        if self.stream_name is not None and not self.stochastic:
            raise ConfigError(
                [Problem("stream_name", f"{self.stream_name!r} is given, but stochastic is false")]
            )


@attrs.frozen(kw_only=True)
class SamplerConfig(StructuralConfig):
    """A structural config with the number of records, 1 or more; None takes the source's."""

    num_records: int | None = attrs.field(default=None, validator=integer(1, optional=True))


def component_field(kind: str, *, default: Any = attrs.NOTHING, many: bool = False) -> Any:
    """Return an attrs field that holds a component, or with `many` a list of them.

    In a mapping it is written `{use = "name", ...}`; from Python a live object may stand there.
    """
    return attrs.field(default=default, metadata={COMPONENT: kind, MANY: many})


def path_field(*, default: Any = attrs.NOTHING, identity: bool = False) -> Any:
    """Return an attrs field for a file or folder: `~`, `$NAME` and `${NAME}` in it are expanded.

    No other field of a config expands anything. `identity` tells whether another path stands for
    other records; where it is false, a state may be restored under another path.
    """
    optional = default is None
    metadata = {EXPAND: True, IDENTITY: identity}
    return attrs.field(default=default, validator=text(optional=optional), metadata=metadata)


def structure(
    cls: type, mapping: Any, *, path: str = "", parse_component: ParseComponent | None = None
) -> Any:
    """Return an instance of the attrs class `cls` made from `mapping`.

    Values are converted strictly: no int from a string, no bool for an int. `parse_component` is
    called with (kind, value, path) for fields that hold components. Raises `ConfigError` with
    every unknown key, missing key, wrong type and broken rule, each with its path.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError([Problem(path, f"{mapping!r} is not a table of keys and values")])
    attrs.resolve_types(cls)
    fields = {field.name: field for field in attrs.fields(cls) if field.init}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key in mapping:
        if key not in fields:
            known = ", ".join(sorted(fields)) or "none"
            hint = did_you_mean(str(key), list(fields)) or f"; known keys: {known}"
            problems.append(Problem(join(path, str(key)), f"unknown key{hint}"))
    for key, field in fields.items():
        where = join(path, key)
        if key not in mapping:
            if field.default is attrs.NOTHING or field.metadata.get(REQUIRED):
                problems.append(Problem(where, "missing; it is required"))
            continue
        try:
            values[key] = _field_value(mapping[key], field, where, parse_component)
        except ConfigError as error:
            problems.extend(error.problems)
    known_fields_are_good = all(name in values or name not in mapping for name in fields)
    complete = all(f.default is not attrs.NOTHING or k in values for k, f in fields.items())
    if known_fields_are_good and complete:  # then the rules across fields can be tried too
        try:
            made = cls(**{fields[name].alias: value for name, value in values.items()})
        except ConfigError as error:
            problems.extend(p for p in error.at(path) if p not in problems)
        except (ValueError, TypeError, OverflowError) as error:  # a rule of a plugin's own
            problems.append(Problem(path, str(error)))
    if problems:
        raise ConfigError(problems)
    return made


def _field_value(
    value: Any, field: "attrs.Attribute[Any]", path: str, parse_component: ParseComponent | None
) -> Any:
    kind = field.metadata.get(COMPONENT)
    if kind is not None and parse_component is not None:
        if value is None and field.default is None:
            return None
        if field.metadata[MANY]:
            return _each(value, path, lambda v, p: parse_component(kind, v, p))
        return parse_component(kind, value, path)
    nested = nested_class(field.type)
    if nested is not None:

        def make(item: Any, where: str) -> Any:
            if isinstance(item, nested):
                return item
            return structure(nested, item, path=where, parse_component=parse_component)

        return _each(value, path, make)
    if field.metadata.get(EXPAND) and isinstance(value, str):
        value = _expanded(value, path)
    converted = _convert(value, field.type, path)
    if field.validator is not None:
        try:
            field.validator(None, field, converted)
        except ConfigError as error:
            parent = path[: -len(field.name)].removesuffix(".")
            raise ConfigError(error.at(parent)) from None
    return converted


def _expanded(value: str, path: str) -> str:
    try:
        return os.path.expanduser(string.Template(value).substitute(os.environ))
    except KeyError as error:
        said = f"{value!r} needs the environment variable {error.args[0]}, which is not set"
        raise ConfigError([Problem(path, said)]) from None
    except ValueError:
        said = f"{value!r} has a $ that begins no variable; a $ by itself is written $$"
        raise ConfigError([Problem(path, said)]) from None


def _each(values: Any, path: str, make: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise ConfigError([Problem(path, f"is one {type(values).__name__}; write a list of tables "
                                   f"(in TOML, [[{path}]])")])  # fmt: skip
    made: list[Any] = []
    problems: list[Problem] = []
    for i, value in enumerate(values):
        try:
            made.append(make(value, f"{path}[{i}]"))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return tuple(made)


def nested_class(annotation: Any) -> Any:
    """Return the attrs class in `tuple[X, ...]`, or None."""
    if typing.get_origin(annotation) is tuple and attrs.has(typing.get_args(annotation)[0]):
        return typing.get_args(annotation)[0]
    return None


def _convert(value: Any, annotation: Any, path: str) -> Any:
    import msgspec  # only configs need it, listing and resolving names do not

    if isinstance(value, set):
        value = sorted(value)
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        reason = str(error)
        at = reason.partition(" - at `$")[2].rstrip("`")
        reason = reason.partition(" - at")[0].replace("Expected", "expected").replace("`", "'")
        raise ConfigError(
            [Problem(path + at, f"{reason} ({value!r})".replace("null", "none"))]
        ) from None


def unstructure(
    config: Any, *, name_component: Callable[[str, Any], Any], identity_only: bool = False
) -> dict[str, Any]:
    """Return the fields of `config` that differ from their defaults, as plain values.

    `name_component` is called with (kind, value) for components and gives their mapping.
    `identity_only` leaves out fields that have no say in which records come, such as a folder.
    """
    mapping: dict[str, Any] = {}
    for field in attrs.fields(type(config)):
        if identity_only and not field.metadata.get(IDENTITY, True):
            continue
        value = getattr(config, field.name)
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory(config) if default.takes_self else default.factory()
        if default is not attrs.NOTHING and (value is default or _same(value, default)):
            continue
        kind = field.metadata.get(COMPONENT)
        if kind is not None:
            named = [name_component(kind, v) for v in _as_tuple(value)]
            mapping[field.name] = named if isinstance(value, tuple) else named[0]
        else:
            mapping[field.name] = unexpanded(field, _plain(value, name_component, identity_only))
    return mapping


def unexpanded(field: "attrs.Attribute[Any]", value: Any) -> Any:
    """Return what stands in a config for the value of a field, which may be expanded there."""
    return value.replace("$", "$$") if field.metadata.get(EXPAND) and value is not None else value


def _plain(value: Any, name_component: Callable[[str, Any], Any], identity_only: bool) -> Any:
    if attrs.has(type(value)):
        return unstructure(value, name_component=name_component, identity_only=identity_only)
    if isinstance(value, tuple | list):
        return [_plain(v, name_component, identity_only) for v in value]
    return plain_leaf(value)


def plain_leaf(value: Any) -> Any:
    """Return a set as a sorted list and an enum's member as its value; others as they are."""
    if isinstance(value, frozenset | set):
        return sorted(value)
    return value.value if isinstance(value, enum.Enum) else value


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
