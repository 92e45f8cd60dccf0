import re
from pathlib import Path

import numpy as np
import pytest

import feedrace

PAGE = Path(__file__).parents[3] / "docs" / "arrow.md"


@pytest.mark.together
@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_configs_of_the_page_run_on_the_data_that_it_makes(tmp_path, monkeypatch):
    pytest.importorskip("datasets").disable_progress_bars()
    for plugin in ("feedrace_samplers", "feedrace_batchers"):
        pytest.importorskip(plugin)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    configs = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    used = [re.search(r'use = "([a-z-]+)"', config)[1] for config in configs]
    assert used == ["parquet", "arrow", "json-lines", "csv", "hugging-face"]
    for number, config in enumerate(configs):
        path = tmp_path / f"{number}.toml"
        path.write_text(config)
        batches = list(feedrace.load(path))
        assert sum(np.asarray(batch["valid_mask"]).sum() for batch in batches) == 1000
        if number == 0:
            assert batches[0]["tokens"].shape == (32, 16)


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
