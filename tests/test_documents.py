"""The documents hold: their Python runs, and they have every public name and option."""

import json
import re
import subprocess
import sys
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
