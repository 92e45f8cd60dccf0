import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "images.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_table_of_the_page_has_every_field_of_every_config():
    import attrs

    from feedrace_images import config
    from feedrace_images.plugin import feedrace_components

    rows = dict(re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE))
    for component in feedrace_components():
        cls = getattr(config, component.config.partition(":")[2])
        for field in attrs.fields(cls):
            assert f"`{field.name}`" in rows[component.name], component.name
