import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "batchers.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_blocks_of_the_page_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    names = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["mask"].shape == (2, 1, 8, 8)
    assert names["loss"] == 1
