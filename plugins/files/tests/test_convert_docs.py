from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "convert.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_names_every_option_of_the_command():
    from feedrace_files.commands import convert

    options = {name for one in convert.params for name in one.opts if name.startswith("--")}
    assert options >= {"--to", "--shards"}
    missing = {name for name in options - {"--json"} if f"{name}" not in PAGE.read_text()}
    assert not missing
