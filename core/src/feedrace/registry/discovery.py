"""Find what the installed plugins declare; a broken plugin or dist breaks none of the others."""

import importlib.metadata as metadata
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import attrs
import pluggy

from feedrace.errors import BrokenPluginError, IncompatiblePluginError, in_words, pip_line
from feedrace.registry import hookspecs
from feedrace.registry.component import API_LEVEL, CODE, Component, Health

GROUP = "feedrace"
BUILTIN = "builtin"
# The environment variables that hold names of plugins: an allow list, a deny list, preferences.
VARIABLES = ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER")

# First-party names by extra, known even if their plugin is not installed.
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
}


@attrs.frozen(order=True)
class EntryPoint:
    """A plugin that a dist registers: its namespace, and the `module` or `module:object` it is."""

    namespace: str
    dist: str
    version: str
    value: str
    location: str = ""


@attrs.define
class Found:
    """What one scan of the installed plugins found.

    names: who offers a (kind, reference), after precedence; several if it is ambiguous.
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

    def implementations(self, hook: str) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Yield (namespace, function) of each plugin that implements a hook, in calling order."""
        for found in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            yield found.plugin_name, found.function


def discover() -> Found:
    """Load the declarations of the core and of every installed plugin.

    A plugin that fails in any way declares nothing; `broken` holds its error with the cause.
    """
    manager = pluggy.PluginManager("feedrace")
    manager.add_hookspecs(hookspecs)
    entries, findings = installed()
    found = Found(manager, findings=findings)
    own = EntryPoint(BUILTIN, "feedrace", _core_version(), "feedrace.builtin.plugin")
    owners = {BUILTIN: "feedrace", CODE: "feedrace"}
    owners |= {extra: f"feedrace-{extra}" for extra in FIRST_PARTY}
    for entry in (own, *entries):
        if entry is not own and not _allowed(entry.namespace):
            found.disabled[entry.namespace] = entry
            continue
        owner = owners.setdefault(entry.namespace, entry.dist)
        try:
            if owner != entry.dist or manager.has_plugin(entry.namespace):
                raise BrokenPluginError(
                    f"the namespace {entry.namespace!r} belongs to {owner}",
                    fix=f"{pip_line('uninstall', entry.dist)} leaves it there",
                )
            began = time.perf_counter()
            _add(found, metadata.EntryPoint(entry.namespace, entry.value, GROUP).load(), entry)
            found.seconds[entry.namespace] = time.perf_counter() - began
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a plugin may raise anything)
            ours = owner == entry.dist
            key = entry.namespace if ours else f"{entry.namespace} ({entry.dist})"
            found.broken[key] = _failure(entry, error)
    found.names = _index(found.components)
    return found


def installed() -> tuple[list[EntryPoint], list[Health]]:
    """Return the plugins of every dist on `sys.path`, sorted, and what is wrong with any dist.

    Of two dists with one name the first on the path counts, as it does for imports. Nothing is
    imported.
    """
    seen: dict[tuple[str, str], EntryPoint] = {}
    findings: list[Health] = []
    for dist in metadata.distributions():
        try:
            entries = list(_entries_of(dist))
        except Exception as error:  # noqa: BLE001 (any package may have broken metadata)
            subject = f"metadata of {_folder(dist)}"
            fix = "remove the folder, and install the dist again if you need it"
            detail = f"does not parse and is skipped: {in_words(error)}"
            findings.append(Health(subject, False, detail, fix))
            continue
        for entry in entries:
            first = seen.setdefault((normal(entry.dist), entry.namespace), entry)
            findings += _conflict(first, entry)
    return sorted(seen.values()), findings


def _entries_of(dist: metadata.Distribution) -> Iterator[EntryPoint]:
    if GROUP not in (dist.read_text("entry_points.txt") or ""):  # parsing all takes much longer
        return
    for point in dist.entry_points:
        if point.group != GROUP:
            continue
        if not (point.name and point.value):
            raise ValueError(f"entry_points.txt: {point.name!r} = {point.value!r} is incomplete")
        name, version = dist.metadata["Name"], dist.metadata["Version"]
        if name is None or version is None:
            raise ValueError("METADATA has no Name or no Version")
        value = point.value.partition("[")[0].strip()
        yield EntryPoint(point.name, name, version, value, _folder(dist))


def _conflict(first: EntryPoint, entry: EntryPoint) -> Iterator[Health]:
    """Yield a finding if two entry points of one dist and namespace differ."""
    if os.path.realpath(first.location) != os.path.realpath(entry.location):
        yield Health(
            f"dist {first.dist}",
            False,
            f"it is installed twice: {first.version} in {first.location}, which is used, and "
            f"{entry.version} in {entry.location}",
            f"{pip_line('uninstall', first.dist)} until none is left, then install it again",
        )
    elif first.value != entry.value:
        detail = f"its entry point {first.namespace!r} is {first.value}, and {entry.value} again"
        fix = "the second is skipped; give each module another namespace"
        yield Health(f"dist {first.dist}", False, detail, fix)


def _folder(dist: metadata.Distribution) -> str:
    return str(getattr(dist, "_path", None) or dist.locate_file(""))


def normal(name: str) -> str:
    """Return the name of a dist as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _core_version() -> str:
    try:
        return metadata.version("feedrace")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"


def _failure(entry: EntryPoint, error: BaseException) -> BrokenPluginError:
    fix = f"fix or remove {entry.dist}, or hide it: FEEDRACE_PLUGINS_DISABLE={entry.namespace}"
    message = in_words(error)
    if isinstance(error, BrokenPluginError):
        message, fix = error.message, error.fix or fix
    incompatible = isinstance(error, IncompatiblePluginError)
    failure = (IncompatiblePluginError if incompatible else BrokenPluginError)(
        f"plugin {entry.namespace!r} of {entry.dist} {entry.version} ({entry.value}): {message}",
        fix=fix,
    )
    failure.__cause__ = error
    return failure


def _add(found: Found, module: Any, entry: EntryPoint) -> None:
    """Add what one plugin declares: all of it, or nothing if anything is wrong."""
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
    raise IncompatiblePluginError(
        f"it declares FEEDRACE_API = {level!r}, and this feedrace has level {API_LEVEL}",
        fix=pip_line("install", "--upgrade", "feedrace" if newer else dist),
    )


def _check_marked(module: Any) -> None:
    """Refuse a function that is named like a hook but not marked as one: it would do nothing."""
    for name, value in vars(module).items():
        if name.startswith("feedrace_") and isinstance(value, FunctionType):
            options = getattr(value, "feedrace_impl", None)
            if options is None:
                raise BrokenPluginError(f"{name} is not marked with @hookimpl and would do nothing")
            if options.get("wrapper") or options.get("hookwrapper"):
                raise BrokenPluginError(f"{name} is a hook wrapper, which feedrace never calls")


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
    first = (BUILTIN, *(listed(VARIABLES[2]) or []))
    return {key: _chosen(offers, first) for key, offers in {**aliased, **named}.items()}


def _chosen(offers: list[Component], first: tuple[str, ...]) -> tuple[Component, ...]:
    """Return the offer of the first namespace that makes one, else all of them."""
    by_namespace = {component.namespace: component for component in reversed(offers)}
    return next(((by_namespace[n],) for n in first if n in by_namespace), tuple(offers))


def _allowed(namespace: str) -> bool:
    allow, deny = listed(VARIABLES[0]), listed(VARIABLES[1])
    return (allow is None or namespace in allow) and namespace not in (deny or ())


def listed(variable: str) -> list[str] | None:
    """Return the names in an environment variable, or None if it is not set."""
    text = os.environ.get(variable)
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]
