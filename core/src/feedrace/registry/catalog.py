"""Which components there are: what plugins declare, found so that no broken one hides another."""

import importlib.metadata as metadata
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any

import attrs
import pluggy

from feedrace import errors
from feedrace.errors import BrokenPluginError, clipped, pip_line, plain
from feedrace.registry import hookspecs, in_code
from feedrace.registry.component import API_LEVEL, CODE, NAME, Component
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.kinds import KINDS
from feedrace.registry.records import EntryPoint, Found, Health, Names

GROUP = "feedrace"  # of entry points
BUILTIN = "builtin"
# The environment variables that hold names of plugins: an allow list, a deny list, preferences.
VARIABLES = ("FEEDRACE_PLUGINS", "FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER")

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
    offers: Sequence[Component] = ()
    if kind in KINDS and isinstance(reference, str):
        registered = in_code.components.get((kind, reference.removeprefix(f"{CODE}/")))
        offers = [registered] if registered else scan().names.get((kind, reference), ())
        if len(offers) == 1:
            return offers[0]
    from feedrace.registry.explanation import not_found  # only a failed look-up needs it

    raise not_found(kind, reference, offers)


def refresh() -> None:
    """Forget the last scan, so that the next look-up sees newly installed plugins."""
    global _scanned
    with _lock:
        _scanned = None


def scan() -> Found:
    """Return what this process's scan of the plugins found; the first call makes the scan.

    Warns with a `PluginWarning` about each plugin that does not load. Raises `BrokenPluginError`
    if a plugin looks names up while it is imported.
    """
    global _scanned, _scanning
    with _lock:
        if _scanning:
            raise BrokenPluginError("components were looked up by a plugin's own import")
        if _scanned is None:
            _scanning = True
            try:
                _scanned = discover()
            finally:
                _scanning = False
            for failure in _scanned.broken.values():
                warnings.warn(f"left out: {failure}", errors.PluginWarning, stacklevel=3)
        return _scanned


def discover() -> Found:
    """Load the declarations of the core and of every installed plugin.

    A plugin that fails in any way declares nothing; `broken` holds its error with the cause.
    """
    manager = pluggy.PluginManager("feedrace")
    manager.add_hookspecs(hookspecs)
    entries, findings = installed()
    found = Found(manager, findings)
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
        allowed = (allow is None or namespace in allow) and namespace not in (deny or ())
        if not allowed and entry is not own:
            found.disabled[namespace] = entry
            continue
        owner = owners.setdefault(namespace, entry.dist)
        try:
            if not NAME.fullmatch(namespace):
                raise BrokenPluginError("its namespace is not kebab-case, such as 'my-plugin'")
            if owner != entry.dist or manager.has_plugin(namespace):
                fix = f"{pip_line('uninstall', entry.dist)} leaves it there"
                raise BrokenPluginError(f"the namespace {namespace!r} belongs to {owner}", fix=fix)
            began = time.perf_counter()
            module = metadata.EntryPoint(namespace, entry.value, GROUP).load()
            found.components += _declared(manager, module, entry)
            found.plugins[entry] = time.perf_counter() - began
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (a plugin may raise anything)
            key = namespace if owner == entry.dist else f"{namespace} ({entry.dist})"
            found.broken[plain(key)] = entry.failure(error)
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
            for entry in list(_entries_of(dist, location)):
                first = seen.setdefault((normal(entry.dist), entry.namespace), entry)
                if first is not entry:
                    findings += first.conflict(entry)
        except Exception as error:  # noqa: BLE001 (any package may have broken metadata)
            detail = f"does not parse and is skipped: {errors.in_words(error)}"
            fix = "remove the folder, and install the dist again if you need it"
            findings.append(Health(f"metadata of {location}", False, detail, fix))
    return sorted(seen.values()), findings


def _entries_of(dist: metadata.Distribution, location: str) -> Iterator[EntryPoint]:
    if GROUP not in (dist.read_text("entry_points.txt") or ""):  # parsing all takes much longer
        return
    for point in dist.entry_points.select(group=GROUP):
        if not (point.name and point.value):
            raise ValueError(f"entry_points.txt: {point.name!a} = {point.value!a} is incomplete")
        fields = dist.metadata
        if "Name" not in fields or "Version" not in fields:
            raise ValueError("METADATA has no Name or no Version")
        value = point.value.partition("[")[0].strip()
        yield EntryPoint(point.name, fields["Name"], fields["Version"], value, location)


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
    source: Any = {name: getattr(entry, name) for name in ("namespace", "dist", "version")}
    declared: list[Component] = []
    try:
        manager.register(module, name=entry.namespace)
        manager.check_pending()
        for hook in manager.hook.feedrace_components.get_hookimpls():
            given = hook.function() if hook.plugin is module else ()
            if not hasattr(given, "__iter__"):
                message = f"feedrace_components gave {clipped(given)}; yield each Component"
                raise BrokenPluginError(message)
            for c in given:
                if not isinstance(c, Component):
                    message = f"feedrace_components yielded {clipped(c)}, no Component"
                    raise BrokenPluginError(message)
                declared.append(attrs.evolve(c, **source))
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
        message = f"it has FEEDRACE_API = {clipped(level)}; this feedrace has level {API_LEVEL}"
        outdated = "feedrace" if type(level) is int and level > API_LEVEL else dist
        fix = pip_line("install", "--upgrade", outdated)
        raise errors.IncompatiblePluginError(message, fix=fix)
    for name, value in vars(module).items():
        if name.startswith("feedrace_") and isinstance(value, FunctionType):
            options = getattr(value, "feedrace_impl", None)
            if options is None:
                raise BrokenPluginError(f"{name} is not marked with @hookimpl and would do nothing")
            if options.get("wrapper") or options.get("hookwrapper"):
                raise BrokenPluginError(f"{name} is a hook wrapper, which feedrace never calls")


def _index(components: list[Component], first: tuple[str, ...]) -> Names:
    """Return who offers each (kind, reference), names before aliases.

    If one of the namespaces `first` offers it, the others' offers are left out.
    """
    named: Names = {}
    aliased: Names = {}
    for c in components:
        for name in (c.name, *c.aliases):
            table = named if name == c.name else aliased
            for reference in (name, f"{c.namespace}/{name}"):
                table.setdefault((c.kind, reference), []).append(c)
    index = aliased | named
    for key, offers in index.items():
        preferred = [c for namespace in first for c in offers if c.namespace == namespace]
        index[key] = preferred[:1] or offers
    return index
