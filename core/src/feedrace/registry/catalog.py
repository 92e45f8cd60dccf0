"""Which components there are: those of installed plugins, and those registered in code."""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from feedrace.errors import (
    AmbiguousNameError,
    BrokenPluginError,
    ComponentError,
    ConfigError,
    DisabledError,
    NotInstalledError,
    PluginWarning,
    Problem,
    UnknownComponentError,
    did_you_mean,
    pip_line,
)
from feedrace.registry.component import CODE, KINDS, Component
from feedrace.registry.discovery import FIRST_PARTY, Found, discover

_scanned: Found | None = None
_registered: dict[tuple[str, str], Component] = {}
_lock = threading.RLock()
_scanning = False
_import_limit: float | None = None


def refresh() -> None:
    """Forget the last scan, so that the next look-up sees newly installed plugins."""
    global _scanned
    _scanned = None


def limit_imports(seconds: float | None) -> None:
    """Count a plugin as broken whose import takes longer; for commands, which should not hang."""
    global _import_limit
    _import_limit = seconds


def scan() -> Found:
    """Return what the one scan of this process found, which is made when it is first needed.

    Plugins that could not be loaded are told of with a `PluginWarning` each. Raises
    `BrokenPluginError` where a plugin looks names up while it is being imported.
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
                    found = _scanned = discover(import_limit=_import_limit)
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

    `target` and `config` may be objects or `"module:attribute"` strings. Raises `ConfigError`
    where the declaration is wrong, or the name is registered already and `replace` is false.
    """
    component = Component(
        kind=kind, name=name, target=target, config=config, summary=summary, namespace=CODE
    )
    if (kind, name) in _registered and not replace:
        said = f"{kind} {name!r} is registered already; give replace=True to register it anew"
        raise ConfigError([Problem("name", said)])
    _registered[kind, name] = component
    return component


def unregister(component: Component) -> None:
    """Take back what `register` did."""
    del _registered[component.kind, component.name]


def registered() -> tuple[Component, ...]:
    """Return what this process registered in code, to be handed to `adopt` in another process."""
    return tuple(_registered.values())


def adopt(components: Iterable[Component]) -> None:
    """Register what `registered` gave in another process, as an initializer of spawned workers."""
    for component in components:
        _registered[component.kind, component.name] = component


@contextmanager
def temporary() -> Iterator[None]:
    """Take back, at the end of a `with` block, whatever was registered or unregistered in it.

    Plugins that were installed meanwhile are seen afterwards only through `refresh`, as always.
    """
    global _registered
    before = dict(_registered)
    try:
        yield
    finally:
        _registered = before  # at once, since other threads may be looking names up


def available(kind: str | None = None, *, capability: str | None = None) -> list[Component]:
    """Return the components of one kind, or of all, sorted by kind and name.

    With `capability`, only those that promise it. Plugins that could not be loaded are left out
    with one `PluginWarning` a process.
    """
    if kind is not None:
        check_kind(kind)
    found = [*_registered.values(), *scan().components]
    wanted = [c for c in found if kind in (None, c.kind)]
    if capability is not None:
        wanted = [c for c in wanted if capability in c.capabilities]
    return sorted(wanted, key=lambda c: (KINDS.index(c.kind), c.name, c.namespace))


def broken_plugins() -> Mapping[str, BrokenPluginError]:
    """Return the plugins that were left out, by namespace, with the reason."""
    return dict(scan().broken)


def resolve(kind: str, reference: str) -> Component:
    """Return the component of `kind` that `reference` names, `name` or `namespace/name`.

    Components registered in code come first, then built-ins, then plugins by name, then by alias.
    Where several plugins offer a name, the first one in `FEEDRACE_PREFER` wins. Raises
    `UnknownComponentError`, `NotInstalledError`, `DisabledError`, `AmbiguousNameError` or
    `BrokenPluginError`, each with its cure. Nothing of the component is imported.
    """
    check_kind(kind)
    if not isinstance(reference, str):
        raise UnknownComponentError(f"a {kind} is named by a string, not by {reference!r}")
    registered = _registered.get((kind, reference.removeprefix(f"{CODE}/")))
    if registered is not None:
        return registered
    offers = scan().names.get((kind, reference), ())
    if len(offers) == 1:
        return offers[0]
    if offers:
        owners = " and ".join(f"{c.dist} ({c.reference})" for c in offers)
        raise AmbiguousNameError(
            f"{kind} {reference!r} is offered by {owners}",
            mend="write the qualified name to choose one, or set FEEDRACE_PREFER="
            f"{offers[0].namespace}",
        )
    raise _not_found(kind, reference)


def _not_found(kind: str, reference: str) -> ComponentError:
    found = scan()
    namespace, _, name = reference.rpartition("/")
    extra = next((e for e, names in FIRST_PARTY.items() if f"{kind}/{name}" in names), None)
    owner = namespace or extra or ""
    if owner in found.broken:
        cause = found.broken[owner]
        error = type(cause)(f"{kind} {reference!r} cannot be had: {cause.said}", mend=cause.mend)
        error.__cause__ = cause
        return error
    if owner in found.disabled:
        return DisabledError(
            f"{kind} {reference!r} belongs to the plugin {owner!r}, which FEEDRACE_PLUGINS or "
            f"FEEDRACE_PLUGINS_DISABLE switches off",
            mend="change the variable to use it",
        )
    installed = any(plugin.namespace == extra for plugin in found.plugins)
    if extra is not None and namespace in ("", extra) and not installed:
        return NotInstalledError(
            f"{kind} {reference!r} comes with a plugin that is not installed",
            mend=pip_line("install", f"feedrace[{extra}]"),
        )
    offered = available(kind)
    known = {c.name for c in offered} | {c.reference for c in offered}
    first_party = {ref.partition("/")[2] for refs in FIRST_PARTY.values() for ref in refs
                   if ref.startswith(f"{kind}/")}  # fmt: skip
    hint = did_you_mean(reference, sorted(known | first_party))
    names = ", ".join(sorted({c.name for c in offered})) or "none"
    kinds = [c.kind for c in available() if reference in (c.name, c.reference)]
    if kinds and not hint:
        hint = f"; it is a {kinds[0]}"
    message = f"no {kind} is called {reference!r}{hint or f'; available: {names}'}"
    if found.broken:
        message += f" (plugins left out as broken: {', '.join(sorted(found.broken))})"
    if found.disabled:
        message += f" (plugins switched off: {', '.join(sorted(found.disabled))})"
    return UnknownComponentError(message)


def check_kind(kind: str) -> None:
    """Raise `UnknownComponentError` where there is no such kind of component."""
    if kind not in KINDS:
        raise UnknownComponentError(
            f"no kind of component is called {kind!r}{did_you_mean(str(kind), KINDS)}; "
            f"kinds: {', '.join(KINDS)}"
        )


def notify(hook: str, **arguments: Any) -> None:
    """Call a hook of all plugins; what one of them raises gets a note that names the plugin."""
    for namespace, function in scan().implementations(hook):
        try:
            function(**arguments)
        except Exception as error:
            error.add_note(f"raised by {hook} of the plugin {namespace!r}")
            raise


def collect(hook: str) -> Iterator[tuple[str, Any]]:
    """Yield (namespace, item) of what each plugin's hook yields.

    An exception takes the item's place where the hook fails; the other plugins' items still come.
    """
    for namespace, function in scan().implementations(hook):
        try:
            for item in function():
                yield namespace, item
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the caller tells of it)
            yield namespace, error
