"""Why a name leads to the component that it does in this installation, or to none."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import attrs

from feedrace import errors
from feedrace.config.fields import QUIET
from feedrace.config.mapping import default_of
from feedrace.errors import ComponentError, UnknownComponentError, clipped, did_you_mean, plain
from feedrace.registry import catalog
from feedrace.registry.component import CODE, Component
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.kinds import KINDS
from feedrace.registry.listing import available, check_kind, references
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import field_documents


def offers(reference: str, kind: str | None = None) -> list[Component]:
    """Return all components that a reference could mean, the ones that it does mean first."""
    namespace, _, name = reference.rpartition("/")
    found = [c for c in available(kind) if namespace in ("", c.namespace)]
    found = [c for c in found if name in (c.name, *c.aliases)]
    return sorted(found, key=lambda c: (KINDS.index(c.kind), not _is_meant(c, reference)))


def _is_meant(component: Component, reference: str) -> bool:
    with suppress(ComponentError):
        return catalog.resolve(component.kind, reference) == component
    return False


def explain(reference: str, kind: str | None = None) -> dict[str, Any]:
    """Return `lines` that explain what a reference means, and the `kinds` that have it."""
    kinds: list[str] = []
    lines: list[str] = []
    for each in KINDS if kind is None else (kind,):
        try:
            component = catalog.resolve(each, reference)
        except UnknownComponentError:
            continue
        except ComponentError as error:
            lines += [str(error), *_cause(error)]
        else:
            kinds.append(each)
            lines += _meaning(component, reference)
    lines = lines or [str(missing(reference, kind))]
    return {"reference": reference, "found": bool(kinds), "kinds": kinds, "lines": lines}


def _meaning(component: Component, reference: str) -> Iterator[str]:
    yield f"{component.kind} {reference!r} is {component.origin}"
    yield f"  target {component.target}"
    if component.name != reference.rpartition("/")[2]:
        yield f"  {reference!r} is an alias of {component.name!r}"
    if component.deprecated:
        yield f"  deprecated: {component.deprecated}"
    precedence = {
        CODE: "registered in code goes first",
        catalog.BUILTIN: "a built-in cannot be replaced",
    }.get(component.namespace, "FEEDRACE_PREFER says so, or the other only has it as an alias")
    for other in offers(reference, component.kind):
        if other != component:
            yield f"  before {other.origin}: {precedence}"


def _cause(error: BaseException) -> Iterator[str]:
    """Yield the traceback of what a plugin raised."""
    while isinstance(error, ComponentError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, ComponentError) or isinstance(error, errors.BrokenPluginError):
        yield from "".join(traceback.format_exception(error)).rstrip().splitlines()


def missing(reference: str, kind: str | None = None) -> ComponentError:
    """Return the error that explains why no kind, or not the given one, has the reference."""
    for each in KINDS if kind is None else (kind,):
        try:
            catalog.resolve(each, reference)
        except ComponentError as error:
            if kind is not None or not isinstance(error, UnknownComponentError):
                return error
    hint = did_you_mean(reference, references()) or "; `feedrace plugins list` shows all names"
    return UnknownComponentError(f"no component of any kind is called {clipped(reference)}{hint}")


def not_found(kind: str, reference: Any, offers: Sequence[Component]) -> ComponentError:
    """Return the error of a look-up that found no component or several, with its fix."""
    check_kind(kind)
    shown = f"'{plain(reference)}'" if isinstance(reference, str) else clipped(reference)
    wanted = f"{kind} {shown}"
    if not isinstance(reference, str):
        return UnknownComponentError(f"a {kind} is named by a string, not by {shown}")
    if offers:
        owners = " and ".join(f"{c.dist} ({c.reference})" for c in offers)
        first = offers[0].namespace
        return errors.AmbiguousNameError(
            f"{wanted} is offered by {owners}",
            fix=f"write the qualified name to choose one, or set FEEDRACE_PREFER={first}",
        )
    found = catalog.scan()
    namespace, _, name = reference.rpartition("/")
    extra = next((e for e, names in FIRST_PARTY.items() if f"{kind}/{name}" in names), "")
    error = left_out(namespace or extra, wanted)
    if error is not None:
        return error
    installed = any(plugin.namespace == extra for plugin in found.plugins)
    if extra and namespace in ("", extra) and not installed:
        return errors.NotInstalledError(
            f"{wanted} comes with a plugin that is not installed", fix=errors.install_line(extra)
        )
    ours = [ref.split("/") for names in FIRST_PARTY.values() for ref in names]
    known = references(kind) + [own for its_kind, own in ours if its_kind == kind]
    hint = did_you_mean(reference, sorted(known))
    kinds = [c.kind for c in available() if reference in (c.name, c.reference)]
    if kinds and not hint:
        hint = f"; it is a {kinds[0]}"
    names = ", ".join(sorted({c.name for c in available(kind)})) or "none"
    message = f"no {kind} is called {shown}{hint or f'; available: {names}'}"
    for which, why in ((found.broken, "that do not load"), (found.disabled, "switched off")):
        if which:
            message += f" (plugins {why}: {', '.join(sorted(which))})"
    return UnknownComponentError(message)


def left_out(namespace: str, wanted: str) -> ComponentError | None:
    """Return the error for what a broken or disabled plugin offers; None if it is neither."""
    found = catalog.scan()
    if namespace in found.broken:
        cause = found.broken[namespace]
        error = type(cause)(f"{wanted} does not load: {cause.message}", fix=cause.fix)
        error.__cause__ = cause
        return error
    if namespace in found.disabled:
        variables = "FEEDRACE_PLUGINS or FEEDRACE_PLUGINS_DISABLE"
        message = f"{wanted} belongs to the plugin {namespace!r}, switched off by {variables}"
        return errors.DisabledError(message, fix="change the variable to use it")
    return None


def fields_of(component: Component) -> list[dict[str, Any]]:
    """Return name, type, default and description of each field of a component's config.

    Fields that every config inherits and few components use are left out.

    Raises `BrokenPluginError` if the config class does not load.
    """
    cls = config_class_of(component)
    documents = {} if cls is None else field_documents(cls)
    rows = []
    for field in () if cls is None else attrs.fields(cls):
        if field.metadata.get(QUIET):
            continue
        default = default_of(field)
        required = default is attrs.NOTHING
        rows.append(
            {
                "name": field.name,
                "type": _type_name(field.type),
                "required": required,
                "default": None if required else repr(default),
                "description": documents.get(field.name, ""),
            }
        )
    return rows


def _type_name(annotation: Any) -> str:
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")
