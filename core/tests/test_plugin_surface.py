"""`feedrace.plugin`: every name of its stub is there, and none costs anything before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import feedrace.plugin


def listed():
    tree = ast.parse(Path(feedrace.plugin.__file__).with_suffix(".pyi").read_text())
    return [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_every_listed_name_can_be_imported():
    assert len(listed()) > 30
    for alias in listed():
        assert alias.asname == alias.name, f"type checkers do not export {alias.name}"
        assert getattr(feedrace.plugin, alias.name) is not None
    assert dir(feedrace.plugin) == sorted(alias.name for alias in listed())


def test_a_name_that_is_not_listed_is_missing():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = feedrace.plugin.nothing


def test_importing_it_and_declaring_a_component_load_nothing_heavy():
    program = (
        "import sys; from feedrace.plugin import Component, SamplerConfig, hookimpl, registry; "
        "print([m for m in ('jax', 'flax', 'numpy', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
