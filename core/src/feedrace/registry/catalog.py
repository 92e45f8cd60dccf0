"""Which components there are: those of installed plugins, and those registered in code."""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from feedrace.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    ConfigError,
    PluginWarning,
    Problem,
    UnknownComponentError,
    did_you_mean,
)
from feedrace.registry.component import CODE, KINDS, Component
from feedrace.registry.discovery import Found, discover

_scanned: Found | None = None
_registered: dict[tuple[str, str], Component] = {}
_lock = threading.RLock()
_scanning = False


def refresh() -> None:
    """Forget the last scan, so that the next look-up sees newly installed plugins."""
    global _scanned
    _scanned = None


def scan() -> Found:
    """Return what this process's scan of the plugins found; the first call makes the scan.

    Warns with a `PluginWarning` about each plugin that does not load. Raises `BrokenPluginError`
    if a plugin looks names up while it is imported.
    """
    global _scanned, _scanning
    found = _scanned  # another thread may refresh it
    if found is None:
        with _lock:
            if _scanning:
                raise BrokenPluginError("components were looked up by a plugin's own import")
            found = _scanned
            if found is None:
                _scanning = True
                try:
                    found = _scanned = discover()
                finally:
                    _scanning = False
                for failure in found.broken.values():
                    warnings.warn(f"left out: {failure}", PluginWarning, stacklevel=3)
    return found


def register(
    kind: str,
    name: str,
    target: Any,
    *,
    config: Any = None,
    summary: str = "",
    replace: bool = False,
) -> Component:
    """Offer a component under a name in this process only, before all installed ones.

    `target` and `config` may be objects or `"module:attribute"` strings. Raises `ConfigError` for
    a wrong declaration, and for a name that is registered already unless `replace` is true.
    """
    component = Component(
        kind=kind, name=name, target=target, config=config, summary=summary, namespace=CODE
    )
    if (kind, name) in _registered and not replace:
        message = f"{kind} {name!r} is registered already; give replace=True to replace it"
        raise ConfigError([Problem("name", message)])
    _registered[kind, name] = component
    return component


def unregister(component: Component) -> None:
    """Undo `register`; raises `UnknownComponentError` if the component is not registered."""
    if _registered.pop((component.kind, component.name), None) is None:
        raise UnknownComponentError(
            f"{component.kind} {component.name!r} is not registered in this process",
            fix="unregister what feedrace.register returned, and only once",
        )


def registered() -> tuple[Component, ...]:
    """Return what this process registered in code, for `adopt` in another process."""
    return tuple(_registered.values())


def adopt(components: Iterable[Component]) -> None:
    """Register what `registered` returned in another process; an initializer of spawned workers."""
    for component in components:
        _registered[component.kind, component.name] = component


@contextmanager
def temporary() -> Iterator[None]:
    """Undo, at the end of a `with` block, every `register` and `unregister` in it.

    Plugins that were installed meanwhile are visible only after `refresh`, as always.
    """
    global _registered
    before = dict(_registered)
    try:
        yield
    finally:
        _registered = before  # at once, since other threads may be looking names up


def available(kind: str | None = None, *, capability: str | None = None) -> list[Component]:
    """Return the components of one kind, or of all, sorted by kind and name.

    With `capability`, only those that promise it. Plugins that do not load are missing; each is
    reported in one `PluginWarning` per process.
    """
    if kind is not None:
        check_kind(kind)
    found = [*_registered.values(), *scan().components]
    wanted = [c for c in found if kind in (None, c.kind)]
    if capability is not None:
        wanted = [c for c in wanted if capability in c.capabilities]
    return sorted(wanted, key=lambda c: (KINDS.index(c.kind), c.name, c.namespace))


def broken_plugins() -> Mapping[str, BrokenPluginError]:
    """Return the plugins that do not load, by namespace, with the reason."""
    return dict(scan().broken)


def resolve(kind: str, reference: str) -> Component:
    """Return the component of `kind` that `reference` names, `name` or `namespace/name`.

    Components registered in code come first, then built-ins, then plugins by name, then by alias.
    If several plugins offer a name, the first one in `FEEDRACE_PREFER` wins. Raises
    `UnknownComponentError`, `NotInstalledError`, `DisabledError`, `AmbiguousNameError` or
    `BrokenPluginError`, each with its fix. Nothing of the component is imported.
    """
    check_kind(kind)
    if not isinstance(reference, str):
        raise UnknownComponentError(f"a {kind} is named by a string, not by {reference!r}")
    in_code = _registered.get((kind, reference.removeprefix(f"{CODE}/")))
    if in_code is not None:
        return in_code
    offers = scan().names.get((kind, reference), ())
    if len(offers) == 1:
        return offers[0]
    if offers:
        owners = " and ".join(f"{c.dist} ({c.reference})" for c in offers)
        raise AmbiguousNameError(
            f"{kind} {reference!r} is offered by {owners}",
            fix="write the qualified name to choose one, or set FEEDRACE_PREFER="
            f"{offers[0].namespace}",
        )
    from feedrace.registry.explanation import not_found  # only a failed look-up needs it

    raise not_found(kind, reference)


def check_kind(kind: str) -> None:
    """Raise `UnknownComponentError` unless `kind` is a kind of component."""
    if kind not in KINDS:
        raise UnknownComponentError(
            f"no kind of component is called {kind!r}{did_you_mean(str(kind), KINDS)}; "
            f"kinds: {', '.join(KINDS)}"
        )


def collect(hook: str) -> Iterator[tuple[str, Any]]:
    """Yield (namespace, item) of what each plugin's hook yields.

    If the hook of one plugin raises, its exception comes as its last item; the others still run.
    """
    for namespace, function in scan().implementations(hook):
        try:
            for item in function():
                yield namespace, item
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the caller reports it)
            yield namespace, error
