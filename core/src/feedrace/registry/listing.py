"""What the installed plugins offer, as lists."""

from collections.abc import Iterator, Mapping
from typing import Any

from feedrace.errors import BrokenPluginError, UnknownComponentError, clipped, did_you_mean
from feedrace.registry import in_code
from feedrace.registry.catalog import scan
from feedrace.registry.component import Component
from feedrace.registry.kinds import KINDS


def available(kind: str | None = None, *, capability: str | None = None) -> list[Component]:
    """Return the components of one kind, or of all, sorted by kind and name.

    With `capability`, only those that promise it. Plugins that do not load are missing; each is
    reported in one `PluginWarning` per process.
    """
    if kind is not None:
        check_kind(kind)
    wanted = [
        c
        for c in (*in_code.registered(), *scan().components)
        if kind in (None, c.kind) and (capability is None or capability in c.capabilities)
    ]
    return sorted(wanted, key=lambda c: (KINDS.index(c.kind), c.name, c.namespace))


def check_kind(kind: str) -> None:
    """Raise `UnknownComponentError` unless `kind` is a kind of component."""
    if kind not in KINDS:
        raise UnknownComponentError(
            f"no kind of component is called {clipped(kind)}{did_you_mean(kind, KINDS)}; "
            f"kinds: {', '.join(KINDS)}"
        )


def references(kind: str | None = None) -> list[str]:
    """Return the names and the qualified names of what is available, sorted."""
    return sorted({name for c in available(kind) for name in (c.name, c.reference)})


def broken_plugins() -> Mapping[str, BrokenPluginError]:
    """Return the plugins that do not load, by namespace, with the reason."""
    return dict(scan().broken)


def collect(hook: str) -> Iterator[tuple[str, Any]]:
    """Yield (namespace, item) of what each plugin's hook yields.

    If the hook of one plugin raises, its exception comes as its last item; the others still run.
    """
    for implementation in reversed(getattr(scan().manager.hook, hook).get_hookimpls()):
        namespace = implementation.plugin_name
        try:
            for item in implementation.function():
                yield namespace, item
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the caller reports it)
            yield namespace, error
