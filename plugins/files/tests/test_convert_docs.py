import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "convert.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_blocks_of_the_page_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert (tmp_path / "texts" / "feedrace.json").exists()
    assert (tmp_path / "kept" / "part-00001.json").exists()


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_names_every_option_of_the_command():
    from feedrace_files.commands import convert

    options = {name for one in convert.params for name in one.opts if name.startswith("--")}
    assert options >= {"--to", "--shards"}
    missing = {name for name in options - {"--json"} if f"{name}" not in PAGE.read_text()}
    assert not missing
