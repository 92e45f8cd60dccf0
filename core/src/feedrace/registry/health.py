"""What `feedrace doctor` reports: the interpreter, the libraries, the plugins and their checks."""

import importlib.metadata as metadata
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress

from packaging.requirements import InvalidRequirement, Requirement

from feedrace.errors import PluginWarning, clipped, did_you_mean, in_words, pip_line, plain
from feedrace.registry import catalog
from feedrace.registry.catalog import BUILTIN, VARIABLES, listed, normal
from feedrace.registry.first_party import FIRST_PARTY
from feedrace.registry.listing import collect
from feedrace.registry.records import Found, Health


def findings() -> list[Health]:
    """Return all findings: this project's first, then what plugins' `feedrace_health` yield."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # they are findings here
        found = catalog.scan()
    python = Health("python", True, f"{platform.python_version()} at {sys.executable}")
    made = [python, *_core(), *found.findings, *_plugins(found), *_variables(found)]
    for namespace, item in collect("feedrace_health"):
        if not isinstance(item, Health):
            fault = f"its health check gave {clipped(item)}, which is not a Health record"
            if isinstance(item, BaseException):
                fault = f"its health check failed: {in_words(item)}"
            item = Health(f"plugin {namespace}", False, fault, "report it to its authors")
        made.append(item)
    return made


def _core() -> Iterator[Health]:
    """Yield the version of feedrace, and whether each library's version fits it."""
    version = _version("feedrace")
    if version is None:
        detail = "its metadata is not installed, so that its version is unknown"
        yield Health("feedrace", False, detail, pip_line("install", "feedrace"))
    else:
        yield Health("feedrace", True, version)
    wanted = _requirements("feedrace")
    for name in ("jax", "flax", "numpy"):
        yield _fit(wanted.get(name) or Requirement(name), name)


def _plugins(found: Found) -> Iterator[Health]:
    for namespace, error in found.broken.items():
        yield Health(f"plugin {namespace}", False, error.message, error.fix)
    for namespace, entry in found.disabled.items():
        detail = f"of {entry.dist} {entry.version}, switched off by FEEDRACE_PLUGINS"
        yield Health(f"plugin {plain(namespace)}", True, f"{detail} or FEEDRACE_PLUGINS_DISABLE")
    for entry, seconds in found.plugins.items():
        if entry.namespace == BUILTIN:
            continue
        subject = f"plugin {entry.namespace}"
        offered = sum(c.namespace == entry.namespace for c in found.components)
        detail = f"{entry.dist} {entry.version}, {offered} components, imported in"
        yield Health(subject, True, f"{detail} {seconds * 1e3:.0f} ms")
        for requirement in _requirements(entry.dist).values():
            fit = _fit(requirement, f"{requirement.name} for {subject}")
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
                detail = f"names {name!a}, which no plugin is called{hint}"
                yield Health(variable, False, detail, f"correct the name in {variable}")


def _requirements(dist: str) -> dict[str, Requirement]:
    """Return what a dist requires in this environment, extras left out."""
    found: dict[str, Requirement] = {}
    with suppress(metadata.PackageNotFoundError):
        for text in metadata.requires(dist) or ():
            with suppress(InvalidRequirement):  # pip refuses such a dist; nothing depends on it
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    found[normal(requirement.name)] = requirement
    return found


def _fit(requirement: Requirement, subject: str) -> Health:
    """Return whether a requirement allows the installed version."""
    version = _version(requirement.name)
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        fits = f", which fits {requirement.specifier}" if requirement.specifier else ""
        return Health(subject, True, f"{version}{fits}")
    fault = "not installed;" if version is None else f"{version}, but"
    fix = pip_line("install", f"{requirement.name}{requirement.specifier}")
    return Health(subject, False, f"{fault} {requirement} is needed", fix)


def _version(name: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None
