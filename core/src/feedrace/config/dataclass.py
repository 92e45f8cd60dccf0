"""Config classes as `dataclasses` sees them, and a data class on their bases as attrs sees it."""

import dataclasses
import inspect
from typing import Any, cast

import attrs


def default_attributes(cls: type) -> None:
    """Make each plain default an attribute of the class, as data classes have it.

    A class with slots keeps its slots there.
    """
    for field in attrs.fields(cls):
        plain = field.default is not attrs.NOTHING and not isinstance(field.default, attrs.Factory)  # type: ignore[arg-type]
        if plain and not hasattr(getattr(cls, field.name, None), "__set__"):
            setattr(cls, field.name, field.default)


class DataclassFields:
    """`__dataclass_fields__` of an attrs class, for `dataclasses.fields` and `replace`.

    `dataclasses.dataclass` takes the fields of its bases from it.
    """

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        return _twin(owner).__dataclass_fields__  # type: ignore[no-any-return, attr-defined]


class DataclassParams:
    """`__dataclass_params__` of an attrs class: those of a frozen data class."""

    def __get__(self, instance: object, owner: type) -> Any:
        return _twin(owner).__dataclass_params__  # type: ignore[attr-defined]


def _twin(cls: type) -> type:
    """Return a data class with the fields of an attrs class."""
    return dataclasses.make_dataclass(
        cls.__name__, [(f.name, f.type or Any, _field(f)) for f in attrs.fields(cls)], frozen=True
    )


def _field(field: "attrs.Attribute[Any]") -> Any:
    default: Any = field.default
    given = {"default": default}
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        given = {"default_factory": default.factory}
    given = {} if default is attrs.NOTHING else given
    return dataclasses.field(
        **given,
        init=field.init,
        repr=bool(field.repr),
        compare=bool(field.eq),
        metadata=field.metadata,
        kw_only=field.kw_only,
    )


class AttrsFields:
    """`__attrs_attrs__` of a subclass that `dataclasses.dataclass` decorates, made when it is read.

    `attrs.frozen` replaces it; a subclass without any decorator has the fields of its base.
    """

    def __get__(self, instance: object, owner: type) -> Any:
        base = owner.__mro__[1]
        own = owner.__dict__.get("__dataclass_fields__")
        if own is None:
            return attrs.fields(base)
        made = {k: _attribute(own[k]) for k in inspect.get_annotations(owner) if k in own}
        fields = attrs.fields(attrs.make_class(owner.__name__, made, bases=(base,), frozen=True))
        owner.__attrs_attrs__ = fields  # type: ignore[attr-defined]
        return fields


def _attribute(field: "dataclasses.Field[Any]") -> Any:
    default: Any = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = attrs.Factory(field.default_factory)
    return attrs.field(
        default=cast(Any, attrs.NOTHING) if default is dataclasses.MISSING else default,
        init=field.init,
        repr=field.repr,
        eq=field.compare,
        type=cast(Any, field.type),
        metadata=field.metadata,
        kw_only=bool(field.kw_only),
    )
