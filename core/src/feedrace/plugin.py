"""What plugin authors import: everything here is stable, everything else of the core is private.

`plugin.pyi` beside this file lists the names. Importing this module imports neither JAX nor numpy;
each name is imported when it is first used.
"""

import ast
from pathlib import Path
from typing import Any


def _homes() -> dict[str, str]:
    """Return the module that each name is imported from, as listed in the stub."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_HOMES = _homes()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'feedrace.plugin' has no attribute {name!r}")
    # As `from home import name` does, this imports `name` if it is a module.
    value = globals()[name] = getattr(__import__(_HOMES[name], fromlist=[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
