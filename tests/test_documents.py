"""The pages have every public name and option; `test_pages.py` runs their blocks."""

import importlib
import re
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
