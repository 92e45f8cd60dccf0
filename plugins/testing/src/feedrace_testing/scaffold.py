"""Write a new plugin from the template of this package."""

import keyword
import re
import sys
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feedrace.plugin import ConfigError, Problem, catalog, pip_line, registry

# Names of the template's own files, and names that a class could not have.
_RESERVED = {"config", "plugin", "none", "true", "false", "jax", "flax", "numpy"}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def make(name: str, kind: str, folder: Path) -> dict[str, Any]:
    """Write the project `name`, a dist with one component of `kind`, into a new folder.

    Returns its `folder`, its `files`, its `component` and the `next` command to run. Raises
    `ConfigError` for a name that cannot be used and for a folder that is not empty.
    """
    import copier

    component = name.removeprefix("feedrace-")
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or not component:
        raise ConfigError([Problem("NAME", f"{name!r} is not kebab-case, such as 'my-{kind}'")])
    taken = {
        "feedrace",
        registry.component.CODE,
        catalog.BUILTIN,
        *registry.first_party.FIRST_PARTY,
    }
    reserved = keyword.iskeyword(component) or component in _RESERVED
    if component in taken or reserved or module in sys.stdlib_module_names:
        message = f"{name!r} is taken; choose another name, such as 'my-{name}'"
        raise ConfigError([Problem("NAME", message)])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder} is not empty; remove it, or choose another folder with --into"
        raise ConfigError([Problem("NAME", message)])
    data = {
        "name": name,
        "kind": kind,
        "module": module,
        "component": component,
        "component_module": component.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in component.split("-")),
        "feedrace_version": version("feedrace"),
    }
    template = resources.files("feedrace_testing") / "template"
    copier.run_copy(str(template), folder, data=data, defaults=True, quiet=True)
    path = folder if folder.is_absolute() else f"./{folder}"
    return {
        "folder": str(folder),
        "files": sorted(str(path) for path in folder.rglob("*") if path.is_file()),
        "component": component,
        "next": pip_line("install", "-e", f"{path}[test]"),
    }
