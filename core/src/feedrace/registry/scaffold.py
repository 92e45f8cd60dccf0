"""Make a new plugin from the template that comes with this package."""

import keyword
import re
import sys
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feedrace.errors import ConfigError, NotInstalledError, Problem, install_line, pip_line
from feedrace.registry.component import CODE
from feedrace.registry.discovery import BUILTIN, FIRST_PARTY

# Names of the template's own files, and words that a class of this name could not have.
_RESERVED = {"config", "plugin", "none", "true", "false", "jax", "flax", "numpy"}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def make(name: str, kind: str, folder: Path) -> dict[str, Any]:
    """Write the project `name`, a dist with one component of `kind`, into a new folder.

    Returns its `folder`, its `files`, its `component` and the `next` command to run. Raises
    `ConfigError` for a name that cannot be used and a folder with something in it;
    `NotInstalledError` where copier is missing.
    """
    component = name.removeprefix("feedrace-")
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name) or not component:
        raise ConfigError([Problem("NAME", f"{name!r} is not kebab-case, such as 'my-{kind}'")])
    taken = {BUILTIN, CODE, *FIRST_PARTY, "feedrace"}
    reserved = keyword.iskeyword(component) or component in _RESERVED
    if component in taken or reserved or module in sys.stdlib_module_names:
        raise ConfigError([Problem("NAME", f"{name!r} is taken; choose another, as 'my-{name}'")])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        said = f"{folder} has something in it; remove it, or give --into another folder"
        raise ConfigError([Problem("NAME", said)])
    try:
        import copier
    except ImportError as error:
        said = "a new plugin is written with copier, which is not installed"
        raise NotInstalledError(said, fix=install_line("scaffold")) from error
    data = {
        "name": name,
        "kind": kind,
        "module": module,
        "component": component,
        "component_module": component.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in component.split("-")),
        "feedrace_version": version("feedrace"),
    }
    template = resources.files("feedrace") / "template"
    copier.run_copy(str(template), folder, data=data, defaults=True, quiet=True)
    where = folder if folder.is_absolute() else f"./{folder}"
    return {
        "folder": str(folder),
        "files": sorted(str(path) for path in folder.rglob("*") if path.is_file()),
        "component": component,
        "next": pip_line("install", "-e", f"{where}[test]"),
    }
