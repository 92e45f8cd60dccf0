"""Look closely at one plugin, as `feedrace plugins check` does."""

import inspect
import re
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from feedrace import protocols
from feedrace.errors import ComponentError, ConfigError, PluginWarning, Problem, pip_line
from feedrace.registry import catalog
from feedrace.registry.component import Component, Health
from feedrace.registry.discovery import EntryPoint, installed, normal
from feedrace.registry.lightness import LIMIT, weigh
from feedrace.registry.making import config_class_of
from feedrace.registry.schema import field_documents, object_schema

_TABLE = '[project.entry-points.feedrace] in pyproject.toml, a line such as mine = "{}.plugin"'


def check(which: str) -> list[Health]:
    """Return all findings on a plugin: a dist, a namespace, or a project's folder such as ".".

    Everything that it declares is imported. Raises `ConfigError` where the folder holds no project.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # they are findings here
        catalog.scan()
    dist = _project_name(Path(which)) if _is_folder(which) else which
    entries, findings = installed()
    mine = [e for e in entries if normal(dist) in (normal(e.dist), normal(e.namespace))]
    if not mine:
        return [_no_entry(dist, which if _is_folder(which) else dist)]
    findings = [f for f in findings if f.subject == f"dist {mine[0].dist}"]
    for entry in mine:
        findings += _plugin_findings(entry)
    return findings


def _is_folder(which: str) -> bool:
    return which.startswith(".") or "/" in which or "\\" in which


def _project_name(folder: Path) -> str:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        name: str = tomllib.loads(text)["project"]["name"]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        said = f"names no project: {type(error).__name__}: {error}"
        raise ConfigError([Problem("", said)], origin=str(folder / "pyproject.toml")) from error
    return name


def _no_entry(dist: str, where: str) -> Health:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version(dist)
    except PackageNotFoundError:
        editable = ("-e", where) if _is_folder(where) else (where,)
        said = "not installed in this environment"
        return Health(f"dist {dist}", False, said, pip_line("install", *editable))
    said = f"{found} registers no entry point in the group feedrace"
    table = _TABLE.format(dist.replace("-", "_"))
    mend = f"add to {table}, and install it anew: metadata is written when a dist is installed"
    return Health(f"dist {dist}", False, said, mend)


def _plugin_findings(entry: EntryPoint) -> Iterator[Health]:
    subject = f"plugin {entry.namespace}"
    found = catalog.scan()
    if entry.namespace in found.disabled:
        said = "switched off by FEEDRACE_PLUGINS or FEEDRACE_PLUGINS_DISABLE"
        yield Health(subject, False, said, "change the variable to check it")
        return
    keys = (entry.namespace, f"{entry.namespace} ({entry.dist})")
    for key in keys:
        error = found.broken.get(key)
        if error is not None:
            cause = error.__cause__ or error
            lines = "".join(traceback.format_exception(cause)).rstrip()
            yield Health(subject, False, f"{error.message}\n{lines}", error.fix)
            return
    components = [c for c in found.components if c.namespace == entry.namespace]
    yield Health(
        subject, True, f"{entry.dist} {entry.version} declares {len(components)} components"
    )
    modules = [entry.value, *(c.config for c in components if isinstance(c.config, str))]
    yield _weight(sorted({value.partition(":")[0] for value in modules}), entry.namespace)
    for component in components:
        yield from _component_findings(component)


def _weight(modules: list[str], namespace: str) -> Health:
    weight = weigh(modules)
    subject = f"imports of {namespace}"
    shown = f"{', '.join(modules)} in {weight.seconds * 1e3:.0f} ms"
    if weight.error:
        return Health(subject, False, f"{', '.join(modules)}: {weight.error}", "mend the import")
    if weight.heavy:
        said = f"{shown}, with {', '.join(weight.heavy)}"
        return Health(subject, False, said, "import those where the component is, not here")
    if weight.seconds > LIMIT:
        said = f"{shown}; declarations and configs have {LIMIT * 1e3:.0f} ms"
        return Health(subject, False, said, "import less there")
    return Health(subject, True, f"{shown}, nothing heavy")


def _component_findings(component: Component) -> Iterator[Health]:
    subject = f"{component.kind} {component.reference}"
    wrong = [*_name_faults(component), *_config_faults(component), *_target_faults(component)]
    for said, mend in wrong:
        yield Health(subject, False, said, mend)
    if not wrong:
        yield Health(subject, True, component.summary)


def _name_faults(component: Component) -> Iterator[tuple[str, str]]:
    if not component.summary:
        yield "it has no summary", "give Component a summary, one sentence for listings"
    for name in (component.name, *component.aliases):
        try:
            winner = catalog.resolve(component.kind, name)
        except ComponentError as error:
            yield str(error), "give it a name of its own"
            continue
        if winner != component:
            said = f"the name {name!r} means {winner.reference} of {winner.dist or 'this process'}"
            yield said, f"give it a name of its own, or write {component.reference!r}"


def _config_faults(component: Component) -> Iterator[tuple[str, str]]:
    try:
        cls = config_class_of(component)
        if cls is not None:
            object_schema(cls, {})
    except ComponentError as error:
        yield error.message, error.fix or "mend what config names"
        return
    if cls is None:
        return
    if not _is_frozen(cls):
        yield f"its config class {cls.__name__} can be changed", "decorate it with @attrs.frozen"
    lacking = [f.name for f in attrs.fields(cls) if f.name not in _documented(cls)]
    if lacking:
        said = f"the docstring of {cls.__name__} says nothing of {', '.join(lacking)}"
        yield said, "write lines 'name: what it means'; schemas and `plugins show` have them"


def _documented(cls: type) -> set[str]:
    common = {"stream_name", "num_records", "num_epochs", "seed"}
    texts = " ".join(inspect.getdoc(base) or "" for base in cls.__mro__[:-1])
    return common | field_documents(cls).keys() | set(re.findall(r"`(\w+)`", texts))


def _is_frozen(cls: type) -> bool:
    for field in attrs.fields(cls)[:1]:
        try:
            setattr(object.__new__(cls), field.name, field.default)
        except AttributeError:  # attrs' own FrozenInstanceError
            continue
        except Exception:  # noqa: BLE001 (a validator ran, so that the field could be set)
            return False
        return False
    return True


def _target_faults(component: Component) -> Iterator[tuple[str, str]]:
    try:
        target = component.load_target()
    except ComponentError as error:
        yield error.message, error.fix or "mend what target names"
        return
    if not callable(target):
        yield f"its target {target!r} cannot be called", "name a class, or a function of the config"
        return
    wanted = protocols.members(protocols.KINDS[component.kind])
    lacking = [m for m in wanted if not hasattr(target, m)] if isinstance(target, type) else []
    if lacking:
        said = f"{target.__qualname__} is no {component.kind}; it lacks {', '.join(lacking)}"
        yield said, f"define {', '.join(lacking)}"
    said = _call_fault(target, component)
    if said:
        yield said, "take the config as its first argument, and nothing else that is required"


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
