"""The Python in the READMEs runs as it stands."""

import re
from pathlib import Path

import pytest

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
