"""What `feedrace doctor` reports: the interpreter, the libraries, the plugins and their checks."""

import importlib.metadata as metadata
import platform
import sys
import warnings
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from feedrace.errors import PluginWarning, did_you_mean, in_words, pip_line
from feedrace.registry import catalog
from feedrace.registry.catalog import BUILTIN, VARIABLES, Found, listed, normal
from feedrace.registry.component import Health
from feedrace.registry.first_party import FIRST_PARTY

_LIBRARIES = ("jax", "flax", "numpy")


def findings() -> list[Health]:
    """Return all findings: this project's first, then what plugins' `feedrace_health` yield."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # they are findings here
        found = catalog.scan()
    made = [_python(), *_core(), *found.findings, *_plugins(found), *_variables(found)]
    for namespace, item in catalog.collect("feedrace_health"):
        if isinstance(item, Health):
            made.append(item)
            continue
        fault = f"its health check gave {item!r}, which is not a Health record"
        if isinstance(item, BaseException):
            fault = f"its health check failed: {in_words(item)}"
        made.append(Health(f"plugin {namespace}", False, fault, "report it to its authors"))
    return made


def _python() -> Health:
    return Health("python", True, f"{platform.python_version()} at {sys.executable}")


def _core() -> Iterator[Health]:
    """Yield the version of feedrace, and whether each library's version fits it."""
    version = _version("feedrace")
    if version is None:
        detail = "its metadata is not installed, so that its version is unknown"
        yield Health("feedrace", False, detail, pip_line("install", "feedrace"))
    else:
        yield Health("feedrace", True, version)
    wanted = _requirements("feedrace")
    for name in _LIBRARIES:
        yield _fit(wanted.get(name) or Requirement(name), name)


def _plugins(found: Found) -> Iterator[Health]:
    for namespace, error in found.broken.items():
        yield Health(f"plugin {namespace}", False, error.message, error.fix)
    for namespace, entry in found.disabled.items():
        detail = f"of {entry.dist} {entry.version}, switched off by FEEDRACE_PLUGINS"
        yield Health(f"plugin {namespace}", True, f"{detail} or FEEDRACE_PLUGINS_DISABLE")
    for entry in found.plugins:
        if entry.namespace == BUILTIN:
            continue
        offered = sum(c.namespace == entry.namespace for c in found.components)
        took = found.seconds[entry.namespace] * 1e3
        yield Health(
            f"plugin {entry.namespace}",
            True,
            f"{entry.dist} {entry.version}, {offered} components, imported in {took:.0f} ms",
        )
        for requirement in _requirements(entry.dist).values():
            fit = _fit(requirement, f"{requirement.name} for plugin {entry.namespace}")
            if not fit.ok:
                yield fit


def _variables(found: Found) -> Iterator[Health]:
    """Yield each name in an environment variable that nearly, but not quite, is a plugin's."""
    known = {plugin.namespace for plugin in found.plugins} | found.broken.keys()
    known |= found.disabled.keys() | FIRST_PARTY.keys()
    for variable in VARIABLES:
        for name in listed(variable) or ():
            hint = did_you_mean(name, sorted(known))
            if name not in known and hint:
                detail = f"names {name!r}, which no plugin is called{hint}"
                yield Health(variable, False, detail, f"correct the name in {variable}")


def _requirements(dist: str) -> dict[str, Requirement]:
    """Return what a dist requires in this environment, extras left out."""
    try:
        texts = metadata.requires(dist) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Requirement] = {}
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # pip refuses such a dist; nothing installed depends on it
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found[normal(requirement.name)] = requirement
    return found


def _fit(requirement: Requirement, subject: str) -> Health:
    """Return whether a requirement allows the installed version."""
    version = _version(requirement.name)
    fix = pip_line("install", f"{requirement.name}{requirement.specifier}")
    if version is None:
        return Health(subject, False, f"not installed; {requirement} is needed", fix)
    if not requirement.specifier.contains(version, prereleases=True):
        return Health(subject, False, f"{version}, but {requirement} is needed", fix)
    fits = f", which fits {requirement.specifier}" if requirement.specifier else ""
    return Health(subject, True, f"{version}{fits}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
