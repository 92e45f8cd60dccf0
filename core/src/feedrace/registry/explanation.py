"""What a name means in this installation and why, and which plugins it consists of."""

import traceback
from collections.abc import Iterator
from typing import Any

import attrs

from feedrace.errors import (
    BrokenPluginError,
    ComponentError,
    ConfigError,
    Problem,
    UnknownComponentError,
    did_you_mean,
    pip_line,
)
from feedrace.registry import catalog
from feedrace.registry.component import KINDS, Component, Health
from feedrace.registry.installed import normal
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import default_of, field_documents


def offers(reference: str, kind: str | None = None) -> list[Component]:
    """Return all components that a reference could mean, the ones that it does mean first."""
    kinds = KINDS if kind is None else (kind,)
    found = []
    for each in kinds:
        namespace, _, name = reference.rpartition("/")
        matching = [
            c
            for c in catalog.available(each)
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
    """Return `lines` that say what a reference means, and whether it was `found` for some kind."""
    told = [(each, _explained(each, reference)) for each in (KINDS if kind is None else (kind,))]
    known = [(each, found, lines) for each, (found, lines) in told if found or lines]
    if not known:
        known = [(kind or "", False, [str(missing(reference, kind))])]
    return {
        "reference": reference,
        "found": any(found for _, found, _ in known),
        "kinds": [each for each, found, _ in known if found],
        "lines": [line for _, _, lines in known for line in lines],
    }


def _explained(kind: str, reference: str) -> tuple[bool, list[str]]:
    """Return whether a kind has the reference, and why; no lines where it is unknown there."""
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
    if component.namespace == "code":
        return "registered in code goes first"
    if component.namespace == "builtin":
        return "a built-in cannot be replaced"
    return "FEEDRACE_PREFER says so, or the other only has it as an alias"


def _cause(error: BaseException) -> Iterator[str]:
    """Yield the traceback of what a plugin raised."""
    while isinstance(error, ComponentError) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, ComponentError) or isinstance(error, BrokenPluginError):
        yield from "".join(traceback.format_exception(error)).rstrip().splitlines()


def missing(reference: str, kind: str | None = None) -> ComponentError:
    """Return the error that says why a reference can be had for no kind, or not for the one."""
    errors = []
    for each in KINDS if kind is None else (kind,):
        try:
            catalog.resolve(each, reference)
        except ComponentError as error:
            errors.append(error)
    for found in errors:
        if kind is not None or not isinstance(found, UnknownComponentError):
            return found
    names = {c.name for c in catalog.available()} | {c.reference for c in catalog.available()}
    hint = did_you_mean(reference, sorted(names)) or "; `feedrace plugins list` shows all names"
    return UnknownComponentError(f"no component of any kind is called {reference!r}{hint}")


def fields_of(component: Component) -> list[dict[str, Any]]:
    """Return name, type, default and description of each field of a component's config.

    Raises `BrokenPluginError` where the config class cannot be loaded.
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


@attrs.frozen
class Locked:
    """A dist that this installation's names come from, and what it offers."""

    dist: str
    version: str
    names: tuple[str, ...]

    @property
    def line(self) -> str:
        """The dist as a pip requirement, its names in a comment."""
        return f"{self.dist}=={self.version}  # {', '.join(self.names)}"


def locked() -> list[Locked]:
    """Return the dists of all installed components, feedrace itself first."""
    found = catalog.scan()
    dists: dict[tuple[str, str], list[str]] = {}
    for plugin in found.plugins:
        dists.setdefault((plugin.dist, plugin.version), [])
    for c in found.components:
        dists[c.dist, c.version].append(f"{c.kind}/{c.name}")
    return [Locked(dist, version, tuple(names)) for (dist, version), names in dists.items()]


def differences(text: str, here: list[Locked]) -> list[Health]:
    """Return, for each dist of a lock file or of this installation, whether both agree.

    Raises `ConfigError` for a line that is no requirement such as `name==1.0`.
    """
    wanted: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        requirement = line.partition("#")[0].strip()
        name, equals, version = (part.strip() for part in requirement.partition("=="))
        if requirement and not (name and equals and version):
            said = f"{requirement!r} is no requirement such as name==1.0"
            raise ConfigError([Problem("", said, number)])
        if requirement:
            wanted[normal(name)] = version
    found = {normal(entry.dist): entry.version for entry in here}
    told = []
    for name in sorted({*wanted, *found}):
        locked_at, version = wanted.get(name), found.get(name, "")
        if locked_at is None:
            said = f"{version}, which is not in the lock"
            told.append(Health(name, False, said, pip_line("uninstall", name)))
        elif version != locked_at:
            said = f"{version or 'not installed'}, locked at {locked_at}"
            mend = pip_line("install", f"{name}=={locked_at}")
            told.append(Health(name, False, said, mend))
        else:
            told.append(Health(name, True, f"{version}, as locked"))
    return told
