"""The pages have every public name and option; `test_pages.py` runs their blocks."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import feedrace
import feedrace_testing

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("feedrace", feedrace.__all__),
        ("feedrace.plugin", dir(feedrace.plugin)),
        ("feedrace_testing", feedrace_testing.__all__),
    ],
    ids=["feedrace", "feedrace.plugin", "feedrace_testing"],
)
def test_the_api_page_has_every_public_name(module, names):
    page = (ROOT / "docs/api.md").read_text()
    assert names
    mentioned = {name for name in names if re.search(rf"[.`]{name}\b", page)}
    assert sorted(set(names) - mentioned) == []


def test_a_module_on_the_api_page_defines_what_the_page_is_to_show():
    """Sphinx leaves out what a module imports from another."""
    modules = re.findall(
        r"^.. automodule:: (\S+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE
    )
    assert modules
    for name in modules:
        values = vars(importlib.import_module(name)).values()
        assert any(getattr(value, "__module__", "") == name for value in values), name


def test_the_table_of_options_matches_the_schema_of_configs():
    command = [sys.executable, "-m", "feedrace.cli", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    schema = json.loads(done.stdout)
    table = (ROOT / "docs/configs.md").read_text().partition("| --- |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(set(schema["properties"]) - {"$schema"})
    for name, shown in rows:
        assert (shown == "required") == (name in schema["required"]), name
        default = schema["properties"][name].get("default")
        if isinstance(default, bool):
            assert shown == f"`{json.dumps(default)}`", name
        elif default is not None:
            assert shown == f"{default:g}", name
