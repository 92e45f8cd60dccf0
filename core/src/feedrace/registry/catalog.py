"""Which components there are: what plugins declare, found so that no broken one hides another."""

import importlib.metadata as metadata
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import attrs
import pluggy

from feedrace.errors import (
    BrokenPluginError,
    IncompatiblePluginError,
    PluginWarning,
    UnknownComponentError,
    did_you_mean,
    in_words,
    pip_line,
)
from feedrace.registry import hookspecs, in_code
from feedrace.registry.component import API_LEVEL, CODE, KINDS, Component, Health
from feedrace.registry.first_party import FIRST_PARTY

GROUP = "feedrace"  # of entry points
BUILTIN = "builtin"
# The environment variables that hold names of plugins: an allow list, a deny list, preferences.
VARIABLES = ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER")


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
    names: dict[tuple[str, str], list[Component]] = attrs.Factory(dict)
    plugins: list[EntryPoint] = attrs.Factory(list)
    seconds: dict[str, float] = attrs.Factory(dict)
    broken: dict[str, BrokenPluginError] = attrs.Factory(dict)
    disabled: dict[str, EntryPoint] = attrs.Factory(dict)
    findings: list[Health] = attrs.Factory(list)


_scanned: Found | None = None
_lock = threading.RLock()
_scanning = False


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
    registered = in_code.components.get((kind, reference.removeprefix(f"{CODE}/")))
    if registered is not None:
        return registered
    offers = scan().names.get((kind, reference), ())
    if len(offers) == 1:
        return offers[0]
    from feedrace.registry.explanation import not_found  # only a failed look-up needs it

    raise not_found(kind, reference, offers)


def available(kind: str | None = None, *, capability: str | None = None) -> list[Component]:
    """Return the components of one kind, or of all, sorted by kind and name.

    With `capability`, only those that promise it. Plugins that do not load are missing; each is
    reported in one `PluginWarning` per process.
    """
    if kind is not None:
        check_kind(kind)
    found = [*in_code.registered(), *scan().components]
    wanted = [c for c in found if kind in (None, c.kind)]
    if capability is not None:
        wanted = [c for c in wanted if capability in c.capabilities]
    return sorted(wanted, key=lambda c: (KINDS.index(c.kind), c.name, c.namespace))


def check_kind(kind: str) -> None:
    """Raise `UnknownComponentError` unless `kind` is a kind of component."""
    if kind not in KINDS:
        raise UnknownComponentError(
            f"no kind of component is called {kind!r}{did_you_mean(str(kind), KINDS)}; "
            f"kinds: {', '.join(KINDS)}"
        )


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


def discover() -> Found:
    """Load the declarations of the core and of every installed plugin.

    A plugin that fails in any way declares nothing; `broken` holds its error with the cause.
    """
    manager = pluggy.PluginManager("feedrace")
    manager.add_hookspecs(hookspecs)
    entries, findings = installed()
    found = Found(manager, findings=findings)
    try:
        version = metadata.version("feedrace")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        version = "unknown"
    own = EntryPoint(BUILTIN, "feedrace", version, "feedrace.builtin.plugin")
    allow, deny, prefer = map(listed, VARIABLES)
    owners = {BUILTIN: "feedrace", CODE: "feedrace"}
    owners |= {extra: f"feedrace-{extra}" for extra in FIRST_PARTY}
    for entry in (own, *entries):
        namespace = entry.namespace
        hidden = (allow is not None and namespace not in allow) or namespace in (deny or ())
        if hidden and entry is not own:
            found.disabled[namespace] = entry
            continue
        owner = owners.setdefault(namespace, entry.dist)
        try:
            if owner != entry.dist or manager.has_plugin(namespace):
                fix = f"{pip_line('uninstall', entry.dist)} leaves it there"
                raise BrokenPluginError(f"the namespace {namespace!r} belongs to {owner}", fix=fix)
            began = time.perf_counter()
            module = metadata.EntryPoint(namespace, entry.value, GROUP).load()
            found.components += _declared(manager, module, entry)
            found.plugins.append(entry)
            found.seconds[namespace] = time.perf_counter() - began
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a plugin may raise anything)
            key = namespace if owner == entry.dist else f"{namespace} ({entry.dist})"
            found.broken[key] = _failure(entry, error)
    found.names = _index(found.components, (BUILTIN, *(prefer or ())))
    return found


def installed() -> tuple[list[EntryPoint], list[Health]]:
    """Return the plugins of every dist on `sys.path`, sorted, and what is wrong with any dist.

    Of two dists with one name the first on the path counts, as it does for imports. Nothing is
    imported.
    """
    seen: dict[tuple[str, str], EntryPoint] = {}
    findings: list[Health] = []
    for dist in metadata.distributions():
        location = str(getattr(dist, "_path", None) or dist.locate_file(""))
        try:
            entries = list(_entries_of(dist, location))
        except Exception as error:  # noqa: BLE001 (any package may have broken metadata)
            detail = f"does not parse and is skipped: {in_words(error)}"
            fix = "remove the folder, and install the dist again if you need it"
            findings.append(Health(f"metadata of {location}", False, detail, fix))
            continue
        for entry in entries:
            first = seen.setdefault((normal(entry.dist), entry.namespace), entry)
            if first is not entry:
                findings += _conflict(first, entry)
    return sorted(seen.values()), findings


def _entries_of(dist: metadata.Distribution, location: str) -> Iterator[EntryPoint]:
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
        yield EntryPoint(point.name, name, version, value, location)


def _conflict(first: EntryPoint, entry: EntryPoint) -> Iterator[Health]:
    """Yield a finding if two entry points of one dist and namespace differ."""
    subject = f"dist {first.dist}"
    if os.path.realpath(first.location) != os.path.realpath(entry.location):
        detail = (
            f"it is installed twice: {first.version} in {first.location}, which is used, and "
            f"{entry.version} in {entry.location}"
        )
        fix = f"{pip_line('uninstall', first.dist)} until none is left, then install it again"
        yield Health(subject, False, detail, fix)
    elif first.value != entry.value:
        detail = f"its entry point {first.namespace!r} is {first.value}, and {entry.value} again"
        fix = "the second is skipped; give each module another namespace"
        yield Health(subject, False, detail, fix)


def normal(name: str) -> str:
    """Return the name of a dist as PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(variable: str) -> list[str] | None:
    """Return the names in an environment variable, or None if it is not set."""
    text = os.environ.get(variable)
    return None if text is None else [n.strip() for n in text.split(",") if n.strip()]


def _declared(manager: pluggy.PluginManager, module: Any, entry: EntryPoint) -> list[Component]:
    """Register a plugin's hooks and return its components; nothing stays if anything is wrong."""
    _check_module(module, entry.dist)
    declared: list[Component] = []
    try:
        manager.register(module, name=entry.namespace)
        manager.check_pending()
        for hook in manager.hook.feedrace_components.get_hookimpls():
            given = hook.function() if hook.plugin is module else ()
            if not hasattr(given, "__iter__"):
                raise BrokenPluginError(f"feedrace_components gave {given!r}; yield each Component")
            for c in given:
                if not isinstance(c, Component):
                    raise BrokenPluginError(f"feedrace_components yielded {c!r}, no Component")
                namespace, dist, version = entry.namespace, entry.dist, entry.version
                declared.append(attrs.evolve(c, namespace=namespace, dist=dist, version=version))
        names = [f"{c.kind} {name}" for c in declared for name in (c.name, *c.aliases)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BrokenPluginError(f"it declares twice: {', '.join(twice)}")
    except BaseException:
        if manager.has_plugin(entry.namespace):
            manager.unregister(module)
        raise
    return declared


def _check_module(module: Any, dist: str) -> None:
    """Refuse another API level, and functions named like hooks that would do nothing."""
    level = getattr(module, "FEEDRACE_API", None)
    if type(level) is not int or level != API_LEVEL:
        newer = type(level) is int and level > API_LEVEL
        raise IncompatiblePluginError(
            f"it declares FEEDRACE_API = {level!r}, and this feedrace has level {API_LEVEL}",
            fix=pip_line("install", "--upgrade", "feedrace" if newer else dist),
        )
    for name, value in vars(module).items():
        if name.startswith("feedrace_") and isinstance(value, FunctionType):
            options = getattr(value, "feedrace_impl", None)
            if options is None:
                raise BrokenPluginError(f"{name} is not marked with @hookimpl and would do nothing")
            if options.get("wrapper") or options.get("hookwrapper"):
                raise BrokenPluginError(f"{name} is a hook wrapper, which feedrace never calls")


def _failure(entry: EntryPoint, error: BaseException) -> BrokenPluginError:
    """Return the error of a plugin that does not load, caused by `error`."""
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


def _index(
    components: list[Component], first: tuple[str, ...]
) -> dict[tuple[str, str], list[Component]]:
    """Return who offers each (kind, reference), names before aliases.

    If one of the namespaces `first` offers it, the others' offers are left out.
    """
    named: dict[tuple[str, str], list[Component]] = {}
    aliased: dict[tuple[str, str], list[Component]] = {}
    for component in components:
        for table, names in ((named, (component.name,)), (aliased, component.aliases)):
            for name in names:
                for reference in (name, f"{component.namespace}/{name}"):
                    table.setdefault((component.kind, reference), []).append(component)
    index = {**aliased, **named}
    for key, offers in index.items():
        by_namespace = {component.namespace: component for component in reversed(offers)}
        index[key] = next(([by_namespace[n]] for n in first if n in by_namespace), offers)
    return index
