"""Inspect one plugin closely, as `feedrace plugins check` does."""

import inspect
import re
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from feedrace.plugin import (
    Component,
    ComponentError,
    ConfigError,
    Health,
    PluginWarning,
    Problem,
    catalog,
    did_you_mean,
    install_line,
    pip_line,
    protocols,
    registry,
    schema,
)
from feedrace_testing.lightness import LIMIT, weigh

_Fault = tuple[str, str]  # what is wrong, and the fix


def check(which: str) -> list[Health]:
    """Return all findings on a plugin: a dist, a namespace, or a project's folder such as ".".

    Everything it declares is imported. Raises `ConfigError` if the folder holds no project.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # they are findings here
        registry.scan()
    is_folder = which.startswith(".") or "/" in which or "\\" in which
    dist = _project_name(Path(which)) if is_folder else which
    installed, findings = catalog.installed()
    name = catalog.normal(dist)
    entries = [e for e in installed if name in map(catalog.normal, (e.dist, e.namespace))]
    if not entries:
        return [_no_entry(dist, which if is_folder else "")]
    findings = [f for f in findings if f.subject == f"dist {entries[0].dist}"]
    for entry in entries:
        findings += _plugin_findings(entry)
    return findings


def _project_name(folder: Path) -> str:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        name: str = tomllib.loads(text)["project"]["name"]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        message = f"names no project: {type(error).__name__}: {error}"
        raise ConfigError([Problem("", message)], origin=str(folder / "pyproject.toml")) from error
    return name


def _no_entry(dist: str, folder: str) -> Health:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(dist)
    except (PackageNotFoundError, ValueError):
        return Health(f"dist {dist}", False, "not installed in this environment",
                      _installing(dist, folder))  # fmt: skip
    line = f'mine = "{dist.replace("-", "_")}.plugin"'
    return Health(
        f"dist {dist}",
        False,
        f"{found} registers no entry point in the group feedrace",
        f"add to [project.entry-points.feedrace] in pyproject.toml a line such as {line}, and "
        "install the project again: metadata is written when a dist is installed",
    )


def _installing(dist: str, folder: str) -> str:
    """Return how to install a dist; pip is only proposed for a folder and for our own plugins."""
    if folder:
        return pip_line("install", "-e", folder)
    extra = catalog.normal(dist).removeprefix("feedrace-")
    if extra in registry.first_party.FIRST_PARTY:
        return install_line(extra)
    entries, _ = catalog.installed()
    dists = sorted({e.dist for e in entries})
    hint = did_you_mean(dist, [*dists, *(e.namespace for e in entries)]).removeprefix("; ")
    return hint or f"check the name; installed plugins: {', '.join(dists) or 'none'}"


def _plugin_findings(entry: registry.records.EntryPoint) -> Iterator[Health]:
    subject = f"plugin {entry.namespace}"
    found = registry.scan()
    if entry.namespace in found.disabled:
        message = "switched off by FEEDRACE_PLUGINS or FEEDRACE_PLUGINS_DISABLE"
        yield Health(subject, False, message, "change the variable to check it")
        return
    for key in (entry.namespace, f"{entry.namespace} ({entry.dist})"):
        error = found.broken.get(key)
        if error is not None:
            cause = error.__cause__ or error
            lines = "".join(traceback.format_exception(cause)).rstrip()
            yield Health(subject, False, f"{error.message}\n{lines}", error.fix)
            return
    components = [c for c in found.components if c.namespace == entry.namespace]
    number = "1 component" if len(components) == 1 else f"{len(components)} components"
    yield Health(subject, True, f"{entry.dist} {entry.version} declares {number}")
    modules = [entry.value, *(c.config for c in components if isinstance(c.config, str))]
    yield _weight(sorted({value.partition(":")[0] for value in modules}), entry.namespace)
    for component in components:
        yield from _component_findings(component)


def _weight(modules: list[str], namespace: str) -> Health:
    weight = weigh(modules)
    subject = f"imports of {namespace}"
    shown = f"{', '.join(modules)} in {weight.seconds * 1e3:.0f} ms"
    if weight.error:
        return Health(subject, False, f"{', '.join(modules)}: {weight.error}", "fix the import")
    if weight.heavy:
        message = f"{shown}, with {', '.join(weight.heavy)}"
        return Health(subject, False, message, "import those in the component's own module")
    if weight.seconds > LIMIT:
        message = f"{shown}; declarations and configs have {LIMIT * 1e3:.0f} ms"
        return Health(subject, False, message, "import less there")
    return Health(subject, True, f"{shown}, nothing heavy")


def _component_findings(component: Component) -> Iterator[Health]:
    subject = f"{component.kind} {component.reference}"
    faults = [*_name_faults(component), *_config_faults(component), *_target_faults(component)]
    for message, fix in faults:
        yield Health(subject, False, message, fix)
    if not faults:
        yield Health(subject, True, component.summary)


def _name_faults(component: Component) -> Iterator[_Fault]:
    if not component.summary:
        yield "it has no summary", "give Component a summary, one sentence for listings"
    for name in (component.name, *component.aliases):
        try:
            winner = registry.resolve(component.kind, name)
        except ComponentError as error:
            yield str(error), "choose another name"
            continue
        if winner != component:
            owner = f"{winner.reference} of {winner.dist or 'this process'}"
            fix = f"choose another name, or write {component.reference!r}"
            yield f"the name {name!r} means {owner}", fix


def _config_faults(component: Component) -> Iterator[_Fault]:
    try:
        cls: Any = registry.config_class_of(component)
        if cls is not None:
            schema.object_schema(cls, {})
    except ComponentError as error:
        yield error.message, error.fix or "fix what config names"
        return
    if cls is None:
        return
    if not _is_frozen(cls):
        yield f"its config class {cls.__name__} can be changed", "decorate it with @attrs.frozen"
    lacking = [f.name for f in attrs.fields(cls) if f.name not in _documented(cls)]
    if lacking:
        message = f"the docstring of {cls.__name__} does not describe {', '.join(lacking)}"
        yield message, "write lines 'name: what it means', which schemas and `plugins show` print"


def _documented(cls: type) -> set[str]:
    common = {"stream_name", "num_records", "num_epochs", "seed"}
    texts = " ".join(inspect.getdoc(base) or "" for base in cls.__mro__[:-1])
    return common | schema.field_documents(cls).keys() | set(re.findall(r"`(\w+)`", texts))


def _is_frozen(cls: Any) -> bool:
    for field in attrs.fields(cls)[:1]:
        try:
            setattr(object.__new__(cls), field.name, field.default)
        except AttributeError:  # attrs' own FrozenInstanceError
            continue
        except Exception:  # noqa: BLE001 (a validator ran, so the field can be set)
            return False
        return False
    return True


def _target_faults(component: Component) -> Iterator[_Fault]:
    try:
        target = component.load_target()
    except ComponentError as error:
        yield error.message, error.fix or "fix what target names"
        return
    if not callable(target):
        yield f"its target {target!r} cannot be called", "name a class, or a function of the config"
        return
    if isinstance(target, type):
        defined = {name for base in target.__mro__ for name in vars(base)}
        wanted = protocols.members(protocols.KINDS[component.kind])
        lacking = ", ".join(name for name in wanted if name not in defined)
        if lacking:
            yield (
                f"{target.__qualname__} is not a {component.kind}: lacks {lacking}",
                (f"define {lacking}"),
            )
    message = _call_fault(target, component)
    if message:
        yield message, "take the config as its first argument, and require nothing else"


def _call_fault(target: Any, component: Component) -> str:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # written in C, perhaps
        return ""
    try:
        signature.bind(*([] if component.config is None else [object()]))
    except TypeError as error:
        given = "nothing" if component.config is None else "its config"
        return f"its target {signature} cannot be called with {given}: {error}"
    return ""
