"""Config classes: rules for their fields, makers of special fields, and the common base classes.

A rule is an attrs validator that also carries its JSON Schema, so that Python, config files,
schema and documentation agree.
"""

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import attrs

from feedrace.config.dataclass import (
    AttrsFields,
    DataclassFields,
    DataclassParams,
    default_attributes,
)
from feedrace.errors import ConfigError, Problem, clipped, did_you_mean

# The largest numbers in a config: each fits an int64, and the length of an axis an int32.
MAX_INT = 2**63 - 1
MAX_SIZE = 2**31 - 1
MAX_SEED = MAX_INT

# Keys of a field's metadata, which `config.mapping` and the schema read.
COMPONENT = "feedrace_component"  # the kind of component that the field holds
MANY = "feedrace_many"  # it holds a list of them
NAMED = "feedrace_named"  # it holds a table of them, by name
OWN = "feedrace_own"  # no other config gives its default, as a pipeline gives its seed
REQUIRED = "feedrace_required"  # a mapping must give it, although the class has a default
IDENTITY = "feedrace_identity"  # whether another value stands for other records or another order
QUIET = "feedrace_quiet"  # shown only if it is not at its default
EXPAND = "feedrace_expand"  # `~` and variables in the string are expanded


@attrs.frozen
class Rule:
    """An attrs validator that raises `ConfigError` for a value that breaks it.

    rule: what a good value is, for the message; a function of the value returns the whole message.
    schema: the rule in terms of JSON Schema. optional: None passes, too.
    """

    holds: Callable[[Any], bool]
    rule: str | Callable[[Any], str]
    schema: Mapping[str, Any] = attrs.field(factory=dict)
    optional: bool = False

    def __call__(self, instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        self.check(attribute.name, value)

    def check(self, name: str, value: Any) -> None:
        """Raise `ConfigError` at the path `name` if the value breaks the rule."""
        if not (self.optional and value is None) and not self.holds(value):
            rule = self.rule
            message = f"{clipped(value)} is not {rule}" if isinstance(rule, str) else rule(value)
            raise ConfigError([Problem(name, message)])


def _is(kind: type, value: Any) -> bool:
    """Return whether a value is a number of this kind, of Python's or numpy's, and no bool."""
    return isinstance(value, kind) and not isinstance(value, bool)


def integer(
    minimum: int | None = None, maximum: int | None = None, *, optional: bool = False
) -> Rule:
    """Return a rule: an int from `minimum` to `maximum`, Python's or numpy's, but no bool.

    Both are those of an int64 if they are left out; give `MAX_SIZE` for the length of an axis.
    """
    low = -MAX_INT if minimum is None else minimum
    high = MAX_INT if maximum is None else maximum
    short = "an int" if minimum is None else f"an int of {minimum} or more"

    def holds(value: Any) -> bool:
        return _is(Integral, value) and low <= int(value) <= high

    def message(value: Any) -> str:
        # The general limits are worth naming only to who goes beyond them.
        beyond = _is(Integral, value) and not -MAX_INT <= value <= high
        whole = beyond or maximum not in (None, MAX_SIZE)
        return f"{clipped(value)} is not {f'an int from {low} to {high}' if whole else short}"

    return Rule(holds, message, {"minimum": low, "maximum": high}, optional)


def check_integer(
    name: str, value: Any, minimum: int | None = None, maximum: int | None = None
) -> None:
    """Raise `ConfigError` unless `value` is an int (no bool) from `minimum` to `maximum`."""
    integer(minimum, maximum).check(name, value)


def number(minimum: float = -math.inf, maximum: float = math.inf) -> Rule:
    """Return a rule: a finite number from `minimum` to `maximum`."""
    limits = {"minimum": minimum, "maximum": maximum}
    schema = {key: limit for key, limit in limits.items() if math.isfinite(limit)}
    rule = "a finite number" + (f" from {minimum} to {maximum}" if schema else "")

    def holds(value: Any) -> bool:
        try:
            return _is(Real, value) and math.isfinite(value) and bool(minimum <= value <= maximum)
        except OverflowError:  # an int beyond all floats is as useless as an infinite number
            return False

    return Rule(holds, rule, schema)


def text(*, optional: bool = False) -> Rule:
    """Return a rule: a string that is not empty."""

    def holds(value: Any) -> bool:
        return isinstance(value, str) and value != ""

    return Rule(holds, "a non-empty string", {"minLength": 1}, optional)


def one_of(*choices: str) -> Rule:
    """Return a rule: one of the given strings."""

    def holds(value: Any) -> bool:
        return isinstance(value, str) and value in choices

    def message(value: Any) -> str:
        return (
            f"{clipped(value)} is none of {', '.join(choices)}{did_you_mean(str(value), choices)}"
        )

    return Rule(holds, message, {"enum": list(choices)})


#: A rule: True or False, and nothing that merely counts as one.
boolean = Rule(
    lambda value: isinstance(value, bool),
    lambda value: f"{clipped(value)} is neither true nor false",
)

#: A rule: a number of epochs, 1 or more, or -1 for an endless pass.
epochs = Rule(
    lambda value: _is(Integral, value) and (value == -1 or 1 <= value <= MAX_INT),
    lambda value: (
        f"{clipped(value)} is neither from 1 to {MAX_INT} nor -1 (endless)"
        if _is(Integral, value) and value > MAX_INT
        else f"{clipped(value)} is neither 1 or more nor -1 (endless)"
    ),
    {"minimum": -1, "maximum": MAX_INT, "not": {"const": 0}},
)


#: A rule: None, or a table whose keys are strings, as are those of all tables within it.
string_keys = Rule(
    lambda value: isinstance(value, dict) and _has_string_keys(value),
    lambda value: f"{clipped(value)} is not a table, or has keys that are not strings",
    optional=True,
)


def _has_string_keys(value: Any, outer: tuple[int, ...] = ()) -> bool:
    if not isinstance(value, dict | list | tuple):
        return True
    if id(value) in outer or len(outer) > 50:  # it holds itself
        return False
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_has_string_keys(item, (*outer, id(value))) for item in items)


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, and anything else as it is: a converter for attrs fields."""
    return tuple(value) if isinstance(value, list) else value


class ComponentTable(dict[str, Any]):
    """Components by name, in their order; it is never changed, so that a config has a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and list(self.items()) == list(other.items())

    __ne__ = object.__ne__


def component_field(
    kind: str,
    *,
    default: Any = attrs.NOTHING,
    many: bool = False,
    named: bool = False,
    identity: bool = True,
) -> Any:
    """Return an attrs field that holds a component.

    A mapping writes it `{use = "name", ...}`; Python may also give a live object. With `many` it is
    a list of them, with `named` a table of them by name, and with both it may be either. Without
    `identity`, a state may be restored with another one.

    `feedrace.create` and pipelines make the components of a component's own config before it, but
    samplers, which need a number of records: `feedrace.plugin.registry.instantiate` makes those.
    """
    converter = _as_table if named else None
    metadata = {COMPONENT: kind, MANY: many, NAMED: named, IDENTITY: identity}
    return attrs.field(default=default, converter=converter, metadata=metadata)


def _as_table(value: Any) -> Any:
    return ComponentTable(value) if isinstance(value, dict) else as_tuple(value)


def path_field(*, default: Any = attrs.NOTHING, identity: bool = False) -> Any:
    """Return an attrs field for a file or folder, whose `~`, `$NAME` and `${NAME}` are expanded.

    No other field of a config expands anything. With `identity`, another path stands for other
    records; without it, a state may be restored under another path.
    """
    metadata = {EXPAND: True, IDENTITY: identity}
    return attrs.field(default=default, validator=text(optional=default is None), metadata=metadata)


@attrs.frozen(slots=False)
class StructuralConfig:
    """Fields that every structural module understands; frozen, and checked when it is made.

    A subclass is decorated with `attrs.frozen`, or with `dataclasses.dataclass(frozen=True)`; the
    functions of both libraries work on either.

    cacheable: keep the result of a call for equal hashable arguments, until `reset_cache`. Samplers
        and batchers keep none, and warn of it.
    batch_stats_fn: function from some data to a dict of statistics, for `compute_statistics`.
    precomputed_stats: statistics known beforehand.
    stochastic: the module draws random numbers, from the stream `stream_name` of its `rngs`.

    Raises `ConfigError` if exactly one of `stochastic` and `stream_name` is set.
    """

    cacheable: bool = attrs.field(
        default=False, validator=boolean, repr=False, metadata={IDENTITY: False, QUIET: True}
    )
    batch_stats_fn: Any = attrs.field(
        default=None, repr=False, metadata={IDENTITY: False, QUIET: True}
    )
    precomputed_stats: dict[str, Any] | None = attrs.field(
        default=None,
        eq=False,
        validator=string_keys,
        repr=False,
        metadata={IDENTITY: False, QUIET: True},
    )
    stochastic: bool = attrs.field(
        default=False, validator=boolean, repr=False, metadata={QUIET: True}
    )
    stream_name: str | None = attrs.field(
        default=None, validator=text(optional=True), repr=False, metadata={QUIET: True}
    )

    __dataclass_fields__ = DataclassFields()
    __dataclass_params__ = DataclassParams()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__attrs_attrs__" not in cls.__dict__:
            cls.__attrs_attrs__ = AttrsFields()  # type: ignore[assignment]

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        default_attributes(cls)

    def __post_init__(self) -> None:  # what `dataclasses` calls
        attrs.validate(self)
        self.__attrs_post_init__()

    def __attrs_post_init__(self) -> None:
        if self.stochastic != (self.stream_name is not None):
            unused = f"{self.stream_name!r} is given, but stochastic is false"
            message = "missing; stochastic = true needs it" if self.stochastic else unused
            raise ConfigError([Problem("stream_name", message)])


default_attributes(StructuralConfig)


@attrs.frozen(slots=False)
class SamplerConfig(StructuralConfig):
    """A structural config with the number of records.

    num_records: records in the data set; None for those of the pipeline's source.
    """

    num_records: int | None = attrs.field(default=None, validator=integer(1, optional=True))
