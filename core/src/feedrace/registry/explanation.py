"""Why a name leads to the component that it does in this installation, or to none."""

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from feedrace.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    ComponentError,
    DisabledError,
    NotInstalledError,
    UnknownComponentError,
    did_you_mean,
    install_line,
)
from feedrace.registry import catalog
from feedrace.registry.component import CODE, KINDS, Component
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.listing import available
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import default_of, field_documents


def offers(reference: str, kind: str | None = None) -> list[Component]:
    """Return all components that a reference could mean, the ones that it does mean first."""
    namespace, _, name = reference.rpartition("/")
    found = []
    for each in KINDS if kind is None else (kind,):
        matching = [
            c
            for c in available(each)
            if name in (c.name, *c.aliases) and namespace in ("", c.namespace)
        ]
        found += sorted(matching, key=lambda c: not _is_meant(c, reference))
    return found


def _is_meant(component: Component, reference: str) -> bool:
    try:
        return catalog.resolve(component.kind, reference) == component
    except ComponentError:
        return False


def explain(reference: str, kind: str | None = None) -> dict[str, Any]:
    """Return `lines` that explain what a reference means, and the `kinds` that have it."""
    rows = [(each, *_explained(each, reference)) for each in (KINDS if kind is None else (kind,))]
    known = [(each, found, lines) for each, found, lines in rows if found or lines]
    if not known:
        known = [(kind or "", False, [str(missing(reference, kind))])]
    return {
        "reference": reference,
        "found": any(found for _, found, _ in known),
        "kinds": [each for each, found, _ in known if found],
        "lines": [line for _, _, lines in known for line in lines],
    }


def _explained(kind: str, reference: str) -> tuple[bool, list[str]]:
    """Return whether a kind has the reference, and why; no lines if the kind does not know it."""
    others = offers(reference, kind)
    try:
        component = catalog.resolve(kind, reference)
    except UnknownComponentError:
        return False, []
    except ComponentError as error:
        return False, [str(error), *_cause(error)]
    lines = [f"{kind} {reference!r} is {component.origin}", f"  target {component.target}"]
    if component.name != reference.rpartition("/")[2]:
        lines.append(f"  {reference!r} is an alias of {component.name!r}")
    if component.deprecated:
        lines.append(f"  deprecated: {component.deprecated}")
    for other in others:
        if other != component:
            lines.append(f"  before {other.origin}: {_precedence(component)}")
    return True, lines


def _precedence(component: Component) -> str:
    if component.namespace == CODE:
        return "registered in code goes first"
    if component.namespace == catalog.BUILTIN:
        return "a built-in cannot be replaced"
    return "FEEDRACE_PREFER says so, or the other only has it as an alias"


def _cause(error: BaseException) -> Iterator[str]:
    """Yield the traceback of what a plugin raised."""
    while isinstance(error, ComponentError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, ComponentError) or isinstance(error, BrokenPluginError):
        yield from "".join(traceback.format_exception(error)).rstrip().splitlines()


def missing(reference: str, kind: str | None = None) -> ComponentError:
    """Return the error that explains why no kind, or not the given one, has the reference."""
    errors = []
    for each in KINDS if kind is None else (kind,):
        try:
            catalog.resolve(each, reference)
        except ComponentError as error:
            errors.append(error)
    for found in errors:
        if kind is not None or not isinstance(found, UnknownComponentError):
            return found
    names = {c.name for c in available()} | {c.reference for c in available()}
    hint = did_you_mean(reference, sorted(names)) or "; `feedrace plugins list` shows all names"
    return UnknownComponentError(f"no component of any kind is called {reference!r}{hint}")


def not_found(kind: str, reference: str, offers: Sequence[Component]) -> ComponentError:
    """Return the error of a look-up that found no component or several, with its fix."""
    if offers:
        owners = " and ".join(f"{c.dist} ({c.reference})" for c in offers)
        first = offers[0].namespace
        return AmbiguousNameError(
            f"{kind} {reference!r} is offered by {owners}",
            fix=f"write the qualified name to choose one, or set FEEDRACE_PREFER={first}",
        )
    found = catalog.scan()
    namespace, _, name = reference.rpartition("/")
    extra = next((e for e, names in FIRST_PARTY.items() if f"{kind}/{name}" in names), None)
    owner = namespace or extra or ""
    if owner in found.broken:
        cause = found.broken[owner]
        error = type(cause)(f"{kind} {reference!r} does not load: {cause.message}", fix=cause.fix)
        error.__cause__ = cause
        return error
    if owner in found.disabled:
        return DisabledError(
            f"{kind} {reference!r} belongs to the plugin {owner!r}, which FEEDRACE_PLUGINS or "
            f"FEEDRACE_PLUGINS_DISABLE switches off",
            fix="change the variable to use it",
        )
    installed = any(plugin.namespace == extra for plugin in found.plugins)
    if extra is not None and namespace in ("", extra) and not installed:
        return NotInstalledError(
            f"{kind} {reference!r} comes with a plugin that is not installed",
            fix=install_line(extra),
        )
    offered = available(kind)
    known = {c.name for c in offered} | {c.reference for c in offered}
    known |= {ref.partition("/")[2] for refs in FIRST_PARTY.values() for ref in refs
              if ref.startswith(f"{kind}/")}  # fmt: skip
    hint = did_you_mean(reference, sorted(known))
    kinds = [c.kind for c in available() if reference in (c.name, c.reference)]
    if kinds and not hint:
        hint = f"; it is a {kinds[0]}"
    names = ", ".join(sorted({c.name for c in offered})) or "none"
    message = f"no {kind} is called {reference!r}{hint or f'; available: {names}'}"
    for which, why in ((found.broken, "that do not load"), (found.disabled, "switched off")):
        if which:
            message += f" (plugins {why}: {', '.join(sorted(which))})"
    return UnknownComponentError(message)


def fields_of(component: Component) -> list[dict[str, Any]]:
    """Return name, type, default and description of each field of a component's config.

    Raises `BrokenPluginError` if the config class does not load.
    """
    cls = config_class_of(component)
    if cls is None:
        return []
    attrs.resolve_types(cls)
    documents = field_documents(cls)
    rows = []
    for field in attrs.fields(cls):
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
