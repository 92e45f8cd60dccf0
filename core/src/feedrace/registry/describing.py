"""From a component back to the mapping that names it, and to its identity in saved states."""

import contextlib
import dataclasses
import enum
import functools
import hashlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Set
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import attrs

from feedrace.config.mapping import unstructure
from feedrace.errors import UnknownComponentError, class_name, clipped
from feedrace.protocols import Unnameable, provides
from feedrace.registry.catalog import BUILTIN, installed
from feedrace.registry.component import Component
from feedrace.registry.in_code import registered
from feedrace.registry.listing import available
from feedrace.registry.making import ComponentSpec, made_by, parse
from feedrace.registry.records import EntryPoint

_OWN = EntryPoint(BUILTIN, "feedrace", "", "feedrace.builtin.plugin")


def describe(
    kind: str, value: Any, *, identity_only: bool = False, defaults: bool = False
) -> dict[str, Any]:
    """Return the mapping `{"use": name, ...}` that creates an equal of `value`.

    It holds the config's fields that differ from their defaults, or with `defaults` all of them.
    With `identity_only` it is the component's part of a saved state's fingerprint: where the code
    is and its `order_version`, without fields that decide nothing about which records come; an
    object without a name is then described by its class and a digest of its code. Raises
    `UnknownComponentError` if `value` has no name otherwise.
    """
    if isinstance(value, Mapping):
        value = parse(kind, value)
    config: Any = getattr(value, "config", None)
    fields: dict[str, Any] = {}
    if attrs.has(type(config)):
        options: dict[str, Any] = {"identity_only": identity_only, "defaults": defaults}
        name_component = functools.partial(describe, **options)
        fields = unstructure(config, name_component=name_component, **options)
        if getattr(config, "seed", None) is not None:  # left out, it would be the pipeline's
            fields["seed"] = int(config.seed)
    try:
        component = _maker_of(kind, value) if identity_only else component_of(kind, value)
    except UnknownComponentError:
        if not identity_only:
            raise
        return {"class": class_name(value), "code": code_digest(value), **fields}
    if not identity_only:
        return {"use": shortest_reference(component), **fields}
    origin = {"dist": component.dist} if component.dist else {}  # without its version
    target = component.target
    named = target if isinstance(target, str) else class_name(target)
    identity = {"use": component.reference, **origin, "target": named}
    return {**identity, "order": component.order_version, **fields}


def filled(config: Any) -> dict[str, Any]:
    """Return a checked config as a mapping with every field in it, defaults and None included."""
    name_component = functools.partial(describe, defaults=True)
    return unstructure(config, name_component=name_component, defaults=True)


def component_of(kind: str, value: Any) -> Component:
    """Return the component whose target made `value`; raises `UnknownComponentError` if none."""
    # A function is nobody's instance: no need to look at all plugins.
    return _maker_of(kind, value, () if isinstance(value, FunctionType) else available(kind))


def _maker_of(kind: str, value: Any, offers: Iterable[Component] | None = None) -> Component:
    """Return the one of `offers` that made `value`; without any, import its own package's alone."""
    if isinstance(value, ComponentSpec):
        return value.component
    if provides(value, Unnameable) and value.unnamed:
        raise UnknownComponentError(f"the {kind} {class_name(value)} {value.unnamed}")
    if id(value) in made_by:
        return made_by[id(value)]
    if offers is None:
        offers = [*registered(), *_declared_in(type(value).__module__.partition(".")[0])]
    for component in offers:
        if component.kind == kind and component.target in (type(value), class_name(type(value))):
            return component
    raise UnknownComponentError(
        f"the {kind} {clipped(value)} was not made from a component with a name; "
        f"feedrace.register({kind!r}, name, ...) gives its class one"
    )


@functools.cache
def _declared_in(package: str) -> tuple[Component, ...]:
    """Return what plugins declare in a package that is imported already."""
    found: list[Component] = []
    for entry in (_OWN, *installed()[0]):
        if entry.value.partition(".")[0].partition(":")[0] == package:
            with contextlib.suppress(Exception):  # a broken plugin names nothing
                module = pkgutil.resolve_name(entry.value)
                names = {"namespace": entry.namespace, "dist": entry.dist, "version": entry.version}
                found += [attrs.evolve(c, **names) for c in module.feedrace_components()]
    return tuple(found)


def shortest_reference(component: Component) -> str:
    """Return the component's name, qualified if another one offers it, too."""
    shared = [c for c in available(component.kind) if component.name in (c.name, *c.aliases)]
    return component.name if len(shared) == 1 else component.reference


def code_digest(value: Any) -> str:
    """Return a digest of a function's code, or of the methods of an object's class.

    It is the same in every process of one Python version. It covers nested functions, defaults,
    values that a closure holds and the fields of attrs and data classes, each as far as it is
    plain: numbers, strings, numpy arrays, and collections and functions of these. Functions of
    modules that a closure or a partial holds count by their names.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in _parts(value):
        digest.update(part + b"\0")
    return digest.hexdigest()


def _parts(value: Any, outer: frozenset[int] = frozenset()) -> Iterator[bytes]:
    """Yield, as bytes, what sets a value apart; `outer` holds the values around it."""
    if id(value) in outer:  # a function that holds itself
        return
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | slice):
        yield repr(value).encode()
        return
    yield type(value).__qualname__.encode()
    if isinstance(value, Set):  # in an order that does not depend on hashes
        yield from sorted(b"\0".join(_parts(item, outer)) for item in value)
        return
    if hasattr(value, "tobytes") and type(value).__module__ == "numpy":
        yield b"" if value.dtype.hasobject else value.tobytes()
    for item in _inner(value, is_outermost=not outer):
        yield from _parts(item, outer | {id(value)})


def _inner(value: Any, *, is_outermost: bool) -> list[Any]:
    """Return the values of which a value consists, as far as they are known to be plain."""
    if isinstance(value, tuple | list):
        return list(value)
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, FunctionType):
        if not is_outermost and "<" not in value.__qualname__:  # it can be imported by its name
            return [class_name(value)]
        cells = [list(_contents(cell)) for cell in value.__closure__ or ()]
        return [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
    if isinstance(value, MethodType):
        return [value.__func__, value.__func__.__code__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, getattr(value.func, "__code__", None), value.args, value.keywords]
    if hasattr(value, "__wrapped__"):  # a function that JAX or functools has wrapped
        return [value.__wrapped__, getattr(value.__wrapped__, "__code__", None)]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return [str(value.dtype), tuple(value.shape)]
    if isinstance(value, enum.Enum | type):
        return [class_name(value), getattr(value, "name", "")]
    return [class_name(value), _fields(value), _functions(value) if is_outermost else []]


def _functions(value: Any) -> list[Any]:
    """Return the code of an object's methods, and the functions that it was given."""
    methods = [(k, v.__code__) for k, v in vars(type(value)).items() if isinstance(v, FunctionType)]
    given = [
        (name, function, getattr(function, "__code__", None))
        for name, function in getattr(value, "__dict__", {}).items()
        if isinstance(function, FunctionType | MethodType | functools.partial)
    ]
    return [methods, given]


def _contents(cell: CellType) -> Iterator[Any]:
    with contextlib.suppress(ValueError):  # an empty one
        yield cell.cell_contents


def _fields(value: Any) -> list[Any]:
    """Return the values in an instance of an attrs class or a data class."""
    declared = getattr(value, "__attrs_attrs__", None) or (
        dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    )
    return [getattr(value, field.name, None) for field in declared]
