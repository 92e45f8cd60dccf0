"""Find what the installed plugins declare, without letting one of them break the others."""

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from types import FunctionType
from typing import Any

import attrs
import pluggy

from feedrace.errors import BrokenPluginError, IncompatiblePluginError, in_words, pip_line
from feedrace.registry import hookspecs
from feedrace.registry.component import API_LEVEL, CODE, Component, Health
from feedrace.registry.installed import EntryPoint, installed
from feedrace.registry.watch import Watch

BUILTIN = "builtin"
# The environment variables that hold names of plugins: an allow list, a deny list, preferences.
VARIABLES = ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER")

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
    "batchers": ("batcher/default", "batcher/bucket", "batcher/pack", "batcher/multi-rate"),
    "tfds": ("source/tfds-eager", "source/tfds-streaming"),
    "interleave": ("scheduler/interleaved",),
    "testing": (),
}


@attrs.define
class Found:
    """What one scan of the installed plugins found.

    names: who offers a (kind, reference), after precedence: more than one where it is ambiguous.
    plugins: those that work; seconds: what importing each took, by namespace.
    findings: what is wrong with the metadata of any dist.
    """

    manager: pluggy.PluginManager
    components: list[Component] = attrs.Factory(list)
    names: dict[tuple[str, str], tuple[Component, ...]] = attrs.Factory(dict)
    plugins: list[EntryPoint] = attrs.Factory(list)
    seconds: dict[str, float] = attrs.Factory(dict)
    broken: dict[str, BrokenPluginError] = attrs.Factory(dict)
    disabled: dict[str, EntryPoint] = attrs.Factory(dict)
    findings: list[Health] = attrs.Factory(list)

    def implementations(self, hook: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield (namespace, function) of each plugin that implements a hook, in calling order.

        Each function takes all the hook's arguments by name.
        """
        for found in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            yield found.plugin_name, _taking_any(found.function, found.argnames)


def discover(*, import_limit: float | None = None) -> Found:
    """Scan the entry points of all installed dists once.

    A plugin that fails in any way is kept in `broken`, with its cause, and declares nothing. One
    that takes long to import is named on stderr; past `import_limit` seconds (in the main thread,
    where the system has timers) it counts as broken.
    """
    from feedrace.builtin import plugin as builtin

    manager = pluggy.PluginManager("feedrace")
    manager.add_hookspecs(hookspecs)
    read = installed()
    found = Found(manager, findings=read.findings)
    own = _own_version()
    _add(found, builtin, EntryPoint(BUILTIN, "feedrace", own, "feedrace.builtin.plugin"))
    owners: dict[str, str] = {BUILTIN: "feedrace", CODE: "feedrace"}
    owners |= {extra: f"feedrace-{extra}" for extra in FIRST_PARTY}
    with Watch(import_limit) as watch:
        for entry in read.entries:
            if not _allowed(entry.namespace):
                found.disabled[entry.namespace] = entry
                continue
            owner = owners.setdefault(entry.namespace, entry.dist)
            try:
                if owner != entry.dist or manager.has_plugin(entry.namespace):
                    raise BrokenPluginError(
                        f"the namespace {entry.namespace!r} belongs to {owner}",
                        mend=f"{pip_line('uninstall', entry.dist)} leaves it there",
                    )
                began = time.perf_counter()
                with watch.over(f"plugin {entry.namespace!r} of {entry.dist} {entry.version} "
                                f"({entry.value})", entry.namespace):  # fmt: skip
                    module = _import(entry.value)
                    _add(found, module, entry)
                found.seconds[entry.namespace] = time.perf_counter() - began
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 (its own fault, whatever it raises)
                key = (
                    entry.namespace if owner == entry.dist else f"{entry.namespace} ({entry.dist})"
                )
                found.broken[key] = _failure(entry, error)
    found.names = _index(found.components)
    return found


def _own_version() -> str:
    import importlib.metadata as metadata

    try:
        return metadata.version("feedrace")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"


def _import(value: str) -> Any:
    module, _, attribute = value.partition(":")
    return reduce(
        getattr, attribute.split(".") if attribute else [], importlib.import_module(module)
    )


def _failure(entry: EntryPoint, error: BaseException) -> BrokenPluginError:
    hide = f"mend or remove {entry.dist}, or hide it: FEEDRACE_PLUGINS_DISABLE={entry.namespace}"
    said, mend = in_words(error), hide
    if isinstance(error, BrokenPluginError):
        said, mend = error.said, error.mend or hide
    incompatible = isinstance(error, IncompatiblePluginError)
    failure = (IncompatiblePluginError if incompatible else BrokenPluginError)(
        f"plugin {entry.namespace!r} of {entry.dist} {entry.version} ({entry.value}): {said}",
        mend=mend,
    )
    failure.__cause__ = error
    return failure


def _add(found: Found, module: Any, entry: EntryPoint) -> None:
    """Add what one plugin declares, all of it or nothing."""
    manager = found.manager
    _check_level(getattr(module, "FEEDRACE_API", None), entry.dist)
    _check_marked(module)
    try:
        manager.register(module, name=entry.namespace)
        manager.check_pending()
        declared = [
            attrs.evolve(c, namespace=entry.namespace, dist=entry.dist, version=entry.version)
            for c in _declared(manager, module)
        ]
        names = [(c.kind, name) for c in declared for name in (c.name, *c.aliases)]
        twice = sorted({f"{kind} {name}" for kind, name in names if names.count((kind, name)) > 1})
        if twice:
            raise BrokenPluginError(f"it declares twice: {', '.join(twice)}")
    except BaseException:
        if manager.has_plugin(entry.namespace):
            manager.unregister(module)
        raise
    found.components.extend(declared)
    found.plugins.append(entry)


def _check_level(level: Any, dist: str) -> None:
    if type(level) is int and level == API_LEVEL:
        return
    newer = type(level) is int and level > API_LEVEL
    mend = pip_line("install", "--upgrade", "feedrace" if newer else dist)
    raise IncompatiblePluginError(
        f"it declares FEEDRACE_API = {level!r}, and this feedrace speaks level {API_LEVEL}",
        mend=mend,
    )


def _check_marked(module: Any) -> None:
    """Refuse a function that is named like a hook but not marked as one: it would do nothing."""
    for name, value in vars(module).items():
        if name.startswith("feedrace_") and isinstance(value, FunctionType):
            if getattr(value, "feedrace_impl", None) is None:
                raise BrokenPluginError(f"{name} is not marked with @hookimpl and would do nothing")
            if any(value.feedrace_impl.get(k) for k in ("wrapper", "hookwrapper")):  # type: ignore[attr-defined]
                raise BrokenPluginError(f"{name} is a hook wrapper, which feedrace has no use for")


def _declared(manager: pluggy.PluginManager, module: Any) -> Iterator[Component]:
    for implementation in manager.hook.feedrace_components.get_hookimpls():
        if implementation.plugin is not module:
            continue
        declared = implementation.function()
        if not hasattr(declared, "__iter__"):
            raise BrokenPluginError(f"feedrace_components gave {declared!r}; yield each Component")
        for component in declared:
            if not isinstance(component, Component):
                raise BrokenPluginError(f"feedrace_components yielded {component!r}, no Component")
            yield component


def _index(components: list[Component]) -> dict[tuple[str, str], tuple[Component, ...]]:
    """Return who offers each (kind, reference): built-ins first, then names, then aliases."""
    named: dict[tuple[str, str], list[Component]] = {}
    aliased: dict[tuple[str, str], list[Component]] = {}
    for component in components:
        for table, names in ((named, (component.name,)), (aliased, component.aliases)):
            for name in names:
                for reference in (name, f"{component.namespace}/{name}"):
                    table.setdefault((component.kind, reference), []).append(component)
    preferred = listed(VARIABLES[2]) or []
    return {key: _chosen(offers, preferred) for key, offers in {**aliased, **named}.items()}


def _chosen(offers: list[Component], preferred: list[str]) -> tuple[Component, ...]:
    """Return the offer that wins, or all of them where none does."""
    for namespace in (BUILTIN, *preferred):
        for component in offers:
            if component.namespace == namespace:
                return (component,)
    return tuple(offers)


def _allowed(namespace: str) -> bool:
    allow, deny = listed(VARIABLES[0]), listed(VARIABLES[1])
    return (allow is None or namespace in allow) and namespace not in (deny or ())


def listed(variable: str) -> list[str] | None:
    """Return the names in an environment variable, or None where it is not set."""
    text = os.environ.get(variable)
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def _taking_any(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    return lambda **arguments: function(*(arguments[name] for name in names))
