"""The start page: its errors are those that come, and its plugin has no faults."""

import contextlib
import io
import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from flax import nnx
from PIL import Image
from tests.conftest import ROOT
from tests.page_data import image_folder
from tests.pages import blocks_of

import feedrace
from feedrace.cli import main
from feedrace.registry.explanation import catalog, not_found
from feedrace_testing.scaffold import make

CONFIG = {
    "batch_size": 4,
    "source": {"use": "image-folder", "path": "photographs"},
    "sampler": {"use": "epoch-aware", "num_epochs": 1},
    "stages": [{"use": "decode-image"}, {"use": "random-resized-crop", "size": [8, 8]}],
    "seed": 7,
    "workers": 0,
}


def explained() -> list[str]:
    """Return what one sees, from the first column of the table of the page."""
    table = (ROOT / "docs/start.md").read_text().partition("## If something goes wrong")[2]
    cells = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[2:]
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


def message_of(call) -> str:
    with pytest.raises(Exception) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def serve(**changed):
    return list(feedrace.build({**CONFIG, **changed}))


def test_the_errors_of_the_start_page_are_those_that_come(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_folder(Path("photographs"))
    for folder in ("lost", "broken"):
        shutil.copytree("photographs", folder)
    shutil.copy("photographs/cat/0.jpg", "lost/0.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (90, 80, 3), np.uint8)
    whole = _jpeg(noise)
    Path("broken/cat/9.jpg").write_bytes(whole[:2000])

    def folder(path):
        return {"use": "image-folder", "path": path}

    mean = nnx.jit(lambda batch: batch["image"].mean())
    damaged = message_of(lambda: serve(source=folder("broken")))
    assert re.search(r"record \d is record 0 of .*broken/cat/9\.jpg", damaged)
    found = [
        damaged,
        message_of(lambda: serve(source=folder("photograps"))),
        message_of(lambda: serve(sampler={"use": "epoch-aware", "epochs": 1})),
        message_of(lambda: serve(source=folder("lost"))),
        message_of(lambda: serve(stages=[{"use": "decode-image"}])),
        message_of(lambda: mean(serve()[0])),
        message_of(lambda: feedrace.Pipeline(source={"id": np.array([2**40])}, batch_size=1)),
    ]
    with monkeypatch.context() as without_plugins:
        without_plugins.setattr(
            catalog, "scan", lambda: SimpleNamespace(plugins=(), broken={}, disabled=())
        )
        found.append(str(not_found("stage", "decode-image", ())))
    spans = explained()
    assert len(spans) > 7
    assert [span for span in spans if not any(span in message for message in found)] == []


def test_the_plugin_of_the_start_page_has_no_faults_and_passes_its_tests(tmp_path, monkeypatch):
    """Only the last line of what `plugins new` writes is another, so that listings stay true."""
    make("my-brighter", "stage", tmp_path / "my-brighter")
    source = tmp_path / "my-brighter/src"
    page = "docs/start.md"
    (block,) = (b for b in blocks_of(page, (ROOT / page).read_text()) if b.caption)
    path = tmp_path / block.caption
    written, shown = path.read_text().splitlines(), block.text.splitlines()
    assert written[:-1] == shown[:-1]
    assert written[-1] != shown[-1]
    path.write_text(block.text)
    metadata = source / "my_brighter-0.1.0.dist-info"  # as an installation would leave it
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-brighter\nVersion: 0.1.0\n")
    points = tomllib.loads((tmp_path / "my-brighter/pyproject.toml").read_text())["project"]
    ((name, module),) = points["entry-points"]["feedrace"].items()
    (metadata / "entry_points.txt").write_text(f"[feedrace]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.chdir(tmp_path)
    catalog.refresh()
    try:
        done = CliRunner().invoke(main, ["plugins", "check", "./my-brighter"])
        assert done.exit_code == 0, done.output
        assert "my-brighter 0.1.0 declares 1 component" in done.output
        names = runpy.run_path(str(tmp_path / "my-brighter/tests/test_my_brighter.py"))
        suite = names["TestMyBrighter"]()
        tests = [test for test in dir(suite) if test.startswith("test_")]
        assert len(tests) > 5
        for test in tests:
            with contextlib.suppress(pytest.skip.Exception):  # of capabilities it does not promise
                getattr(suite, test)()
    finally:
        monkeypatch.undo()
        catalog.refresh()
        for name in [name for name in sys.modules if name.startswith("my_brighter")]:
            del sys.modules[name]


def _jpeg(pixels) -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG")
    return made.getvalue()
