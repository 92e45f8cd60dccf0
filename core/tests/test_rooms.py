"""What each room of the core may import from outside, anywhere in its code."""

import ast
import sys
from pathlib import Path

import pytest

import feedrace

ROOT = Path(feedrace.__file__).parent
ALLOWED = {
    "__init__": "",
    "errors": "",
    "protocols": "",
    "component": "attrs pluggy",
    "hookspecs": "pluggy",
    "config": "attrs msgspec",
    "installed": "attrs",
    "watch": "",
    "discovery": "attrs pluggy",
    "catalog": "",
    "registry": "attrs",
    "health": "packaging",
    "shuffle": "numpy",
    "plan": "attrs numpy",
    "order": "jax numpy",
    "specs": "jax numpy",
    "module": "attrs flax jax numpy",
    "sampler": "attrs flax grain jax numpy",
    "source": "attrs flax jax numpy",
    "columns": "numpy",
    "stages": "attrs flax jax numpy",
    "builtin/__init__": "",
    "builtin/plugin": "",
    "builtin/config": "attrs",
    "builtin/memory": "flax jax numpy",
    "builtin/sequential": "numpy",
    "builtin/single": "",
    "builtin/stages": "jax",
    "prefetch": "",
    "placement": "attrs jax numpy",
    "timing": "",
    "device": "flax jax numpy",
    "state": "",
    "stream": "attrs jax numpy",
    "wiring": "flax",
    "run": "attrs jax numpy",
    "iterator": "",
    "pipeline": "attrs flax jax numpy",
    "document": "attrs yaml",
    "lines": "",
    "toml": "tomlkit",
    "schema": "attrs msgspec",
    "lightness": "attrs msgspec",
    "inspection": "attrs",
    "explanation": "attrs",
    "assemble": "flax jax",
    "testing/__init__": "pytest",
    "testing/component": "attrs jax jsonschema numpy pytest",
    "testing/strategies": "hypothesis numpy",
    "testing/spawned": "",
    "testing/machine": "hypothesis",
    "testing/fixtures": "pytest",
    "testing/sampler": "attrs hypothesis numpy pytest",
    "testing/source": "hypothesis jax numpy pytest",
    "testing/batcher": "hypothesis jax numpy pytest",
    "testing/scheduler": "numpy pytest",
    "testing/stage": "hypothesis jax numpy pytest",
    "scaffold": "copier",
    "cli/__init__": "click",
    "cli/__main__": "",
    "cli/output": "attrs click jax",
    "cli/config": "click",
    "cli/describe": "click",
    "cli/doctor": "click",
    "cli/plugins": "attrs click",
    "cli/run": "click jax prometheus_client rich",
    "cli/verify": "attrs click",
    "verify": "attrs jax numpy",
    "checkpoint": "attrs jax orbax",
    "metrics": "prometheus_client",
}


def outside(path):
    """Return the names of the distributions that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"feedrace"}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room):
    assert outside(ROOT / f"{room}.py") <= set(ALLOWED[room].split())


def test_every_room_is_listed_and_none_is_too_large():
    rooms = {str(p.relative_to(ROOT).with_suffix("")): p for p in ROOT.rglob("*.py")}
    assert set(rooms) == set(ALLOWED)
    sizes = {room: len(path.read_text().splitlines()) for room, path in rooms.items()}
    assert {room: size for room, size in sizes.items() if size > 400} == {}
