import re
from pathlib import Path

import attrs
import pytest

from feedrace_compose import config
from feedrace_compose.plugin import feedrace_components

PAGE = Path(__file__).parents[3] / "docs" / "compose.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def test_the_table_of_the_page_has_every_field_of_every_config():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE))
    for component in feedrace_components():
        cls = getattr(config, component.config.partition(":")[2])
        inherited = {field.name for field in attrs.fields(cls.__mro__[1])}
        for field in attrs.fields(cls):
            assert field.name in inherited or f"`{field.name}`" in rows[component.name]
