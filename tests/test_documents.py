"""The Python in the READMEs runs as it is, and the API page has every public name."""

import re
from pathlib import Path

import pytest

import feedrace
import feedrace_testing

ROOT = Path(__file__).parents[1]
FILES = ["README.md", "core/README.md", "plugins/samplers/README.md", "plugins/batchers/README.md",
         "plugins/tfds/README.md"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_snippets_of_a_readme_run(name, monkeypatch):
    monkeypatch.chdir(ROOT / "docs/examples/digits")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("feedrace", feedrace.__all__),
        ("feedrace.plugin", dir(feedrace.plugin)),
        ("feedrace_testing", dir(feedrace_testing)),
    ],
    ids=["feedrace", "feedrace.plugin", "feedrace_testing"],
)
def test_the_api_page_has_every_public_name(module, names):
    page = (ROOT / "docs/api.md").read_text()
    assert names
    mentioned = {name for name in names if re.search(rf"[.`]{name}\b", page)}
    assert sorted(set(names) - mentioned) == []
