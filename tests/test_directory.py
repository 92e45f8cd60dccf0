"""The plugin directory is that of plugins.toml, and its rows are true."""

import importlib
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
from tests.documents import directory

from feedrace.registry import available
from feedrace.registry.first_party import FIRST_PARTY

ROOT = Path(__file__).parents[1]
TABLE = directory.read()
OURS = {one["dist"]: one for one in TABLE["of_this_project"]}


def test_the_page_has_the_lists():
    assert (directory.DOCS / "directory.md").read_text() == directory.page(), (
        "run python -m tests.documents.directory"
    )


def test_every_plugin_of_this_project_is_listed():
    assert sorted(OURS) == sorted(f"feedrace-{extra}" for extra in FIRST_PARTY)


@pytest.mark.parametrize("dist", OURS)
def test_a_plugin_of_this_project_has_the_names_that_it_declares(dist):
    declared = [f"{c.kind}/{c.name}" for c in available() if c.dist == dist]
    assert sorted(OURS[dist]["names"]) == sorted(declared)


def test_the_page_names_the_components_of_the_core():
    page = (directory.DOCS / "directory.md").read_text()
    line = page.partition("The core itself brings")[2].partition(".\n")[0]
    declared = [c.name for c in available() if c.dist == "feedrace"]
    assert sorted(re.findall(r"`(\S+)`", line)) == sorted(declared)


@pytest.mark.parametrize("dist", OURS)
def test_a_plugin_of_this_project_has_the_commands_that_it_adds(dist):
    module = importlib.import_module(f"{dist.replace('-', '_')}.plugin")
    added = []
    for command in getattr(module, "feedrace_commands", list)():
        within = getattr(command, "commands", {"": command})
        added += [f"{command.name} {name}".strip() for name in within]
    assert sorted(OURS[dist].get("commands", [])) == sorted(added)


def example():
    """Return the entry that the page shows."""
    page = (directory.DOCS / "directory.md").read_text()
    return tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])["others"]


@pytest.mark.parametrize("one", [*TABLE["others"], *example()], ids=lambda one: one["dist"])
def test_an_entry_of_others_has_everything(one):
    assert set(one) - {"commands"} == {
        "dist", "what", "names", "author", "link", "python", "feedrace"
    }  # fmt: skip
    assert not one["what"].endswith(".")
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9-]+", name) for name in one["names"])


@pytest.mark.parametrize("one", [*OURS.values(), *TABLE["others"]], ids=lambda one: one["dist"])
def test_a_link_of_the_directory_leads_to_a_page(one):
    page = one["link"].partition("#")[0]
    assert page.startswith("https://") or (directory.DOCS / page).is_file()


def test_the_example_brings_what_its_entry_says(monkeypatch):
    folder = ROOT / "docs/examples/feedrace-balanced"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (one,) = [one for one in TABLE["others"] if one["dist"] == project["name"]]
    assert one["python"] == project["requires-python"]
    monkeypatch.syspath_prepend(str(folder / "src"))
    spec = importlib.util.find_spec(project["entry-points"]["feedrace"]["balanced"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert one["names"] == [f"{c.kind}/{c.name}" for c in module.feedrace_components()]
    sys.modules.pop("feedrace_balanced", None)
