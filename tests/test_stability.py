"""The stability policy and the changelog page say what is so."""

import re
import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from feedrace.registry.catalog import API_LEVEL

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/stability.md").read_text()
CORE = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]


def test_the_policy_names_the_versions_that_the_metadata_allow():
    text = " ".join(PAGE.partition("## What it runs on")[2].split())
    found = [c.rpartition(" :: ")[2] for c in CORE["classifiers"] if ":: Python :: 3." in c]
    *before, last = found
    assert f"Python {', '.join(before)} and {last}." in text
    least = dict(d.split(">=") for d in CORE["dependencies"])
    for name, shown in [("jax", "JAX"), ("flax", "flax"), ("numpy", "numpy")]:
        assert re.search(rf"{shown} from {re.escape(least[name])}\b", text), name


def test_the_policy_names_the_level_of_the_plugin_interface():
    assert f"`FEEDRACE_API` is a whole number, now {API_LEVEL}." in PAGE


def test_the_policy_names_the_variables_that_are_read():
    sources = [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    text = "\n".join(path.read_text() for path in sources)
    read = set(re.findall(r"\bFEEDRACE_[A-Z_]+\b", text)) - {"FEEDRACE_API", "FEEDRACE_WORKER"}
    row = next(line for line in PAGE.splitlines() if line.startswith("| environment |"))
    assert set(re.findall(r"FEEDRACE_[A-Z_]+", row)) == read


def test_packages_of_the_project_require_one_version():
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        assert f"feedrace=={CORE['version']}" in project["dependencies"], path
        assert project["version"] == CORE["version"], path


def test_the_changelog_has_what_comes_next():
    pytest.importorskip("jupyter_cache", reason="the settings of the site need its libraries")
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    text = [(ROOT / "docs/changelog.md").read_text()]
    conf["with_news"](SimpleNamespace(srcdir=str(ROOT / "docs")), "changelog", text)
    shown = " ".join(text[0].split())
    fragments = [p for p in ROOT.glob("changes/*.md") if re.search(r"\.(feature|bugfix)\.", p.name)]
    for fragment in fragments:
        assert " ".join(fragment.read_text().split()) in shown, fragment.name
    other = ["a page"]
    conf["with_news"](SimpleNamespace(srcdir=str(ROOT / "docs")), "start", other)
    assert other == ["a page"]


def test_the_news_have_headings_with_items_alone_and_are_in_the_order_of_their_numbers(tmp_path):
    pytest.importorskip("jupyter_cache", reason="the settings of the site need its libraries")
    (tmp_path / "changes").mkdir()
    for name in ("15.feature.10", "15.feature", "9.feature", "15.feature.2", "+word.feature"):
        (tmp_path / f"changes/{name}.md").write_text(f"News {name}.")
    text = [""]
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    conf["with_news"](SimpleNamespace(srcdir=str(tmp_path / "docs")), "changelog", text)
    names = re.findall(r"^- News (.*)\.$", text[0], re.MULTILINE)
    assert names == ["9.feature", "15.feature", "15.feature.2", "15.feature.10", "+word.feature"]
    assert re.findall(r"^#.*", text[0], re.MULTILINE) == ["### Features"]
