"""Find what the installed plugins declare, without letting one of them break the others."""

import os
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import cast

import attrs
import pluggy

from penstock import hookspecs
from penstock.component import API_LEVEL, Component
from penstock.errors import BrokenPluginError, IncompatiblePluginError

ENTRY_POINT_GROUP = "penstock"
BUILTIN = "builtin"
CODE = "code"

# First-party names by extra, known even when their plugin is not installed.
FIRST_PARTY: Mapping[str, tuple[str, ...]] = {
    "samplers": (
        "sampler/epoch-aware",
        "sampler/shuffle",
        "sampler/range",
        "sampler/sliding-window",
        "sampler/mixture",
        "sampler/block-shuffle",
    ),
    "batchers": ("batcher/default",),
    "tfds": ("source/tfds-eager", "source/tfds-streaming"),
    "interleave": ("scheduler/interleaved",),
}


@attrs.define
class Found:
    """What one scan of the installed plugins found."""

    components: list[Component] = attrs.Factory(list)
    broken: dict[str, BrokenPluginError] = attrs.Factory(dict)
    disabled: set[str] = attrs.Factory(set)


def discover() -> Found:
    """Scan the entry points of all installed dists once.

    A plugin that fails in any way is kept in `broken`, with its cause, and declares nothing.
    """
    import importlib.metadata as metadata

    from penstock.builtin import plugin as builtin

    registry = Found()
    manager = pluggy.PluginManager("penstock")
    manager.add_hookspecs(hookspecs)
    dist = metadata.distribution("penstock")
    _add(manager, registry, builtin, BUILTIN, "penstock", dist.version)
    owners: dict[str, str] = {BUILTIN: "penstock", CODE: "penstock"}
    owners |= {extra: f"penstock-{extra}" for extra in FIRST_PARTY}
    for entry in sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda e: e.name):
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
        if not _allowed(entry.name):
            registry.disabled.add(entry.name)
            continue
        owner = owners.setdefault(entry.name, name)
        try:
            if owner != name or manager.has_plugin(entry.name):
                raise BrokenPluginError(f"the namespace {entry.name!r} belongs to {owner}")
            _add(manager, registry, entry.load(), entry.name, name, version)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a plugin's fault stays its own)
            kind = BrokenPluginError
            if isinstance(error, IncompatiblePluginError):
                kind = IncompatiblePluginError
            failure = kind(
                f"plugin {entry.name!r} of {name} {version} ({entry.value}): "
                f"{type(error).__name__}: {error}"
            )
            failure.__cause__ = error
            key = entry.name if owner == name else f"{entry.name} ({name})"
            registry.broken[key] = failure
    return registry


def _add(
    manager: pluggy.PluginManager,
    registry: Found,
    module: ModuleType,
    namespace: str,
    dist: str,
    version: str,
) -> None:
    """Add what one plugin declares, all of it or nothing."""
    level = getattr(module, "PENSTOCK_API", None)
    if level != API_LEVEL:
        raise IncompatiblePluginError(
            f"it declares PENSTOCK_API = {level!r}, and this penstock speaks level {API_LEVEL}; "
            f"install versions of penstock and {dist} that agree"
        )
    manager.register(module, name=namespace)
    try:
        manager.check_pending()
        declared = list(_declared(manager, module))
        names = [(c.kind, c.name) for c in declared]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise BrokenPluginError(f"it declares twice: {twice}")
    except BaseException:
        manager.unregister(module)
        raise
    registry.components.extend(
        attrs.evolve(c, namespace=namespace, dist=dist, version=version) for c in declared
    )


def _declared(manager: pluggy.PluginManager, module: ModuleType) -> Iterator[Component]:
    for implementation in manager.hook.penstock_components.get_hookimpls():
        if implementation.plugin is module:
            yield from cast(Iterable[Component], implementation.function())


def _allowed(namespace: str) -> bool:
    def names(variable: str) -> set[str] | None:
        text = os.environ.get(variable)
        return None if text is None else {n.strip() for n in text.split(",") if n.strip()}

    allow, deny = names("PENSTOCK_PLUGINS"), names("PENSTOCK_PLUGINS_DISABLE")
    return (allow is None or namespace in allow) and namespace not in (deny or set())
