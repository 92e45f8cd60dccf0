import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "arrow.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_names_every_option_of_the_plugin():
    import attrs

    from feedrace.plugin import FileConfig
    from feedrace_arrow import config

    common = {field.name for field in attrs.fields(FileConfig)}
    for name in ("ParquetConfig", "ArrowFilesConfig", "JSONLinesConfig", "CSVConfig",
                 "HuggingFaceConfig"):  # fmt: skip
        for field in attrs.fields(getattr(config, name)):
            if field.name not in common:
                assert re.search(rf"`{field.name}\b|{field.name} =", PAGE.read_text()), field.name
