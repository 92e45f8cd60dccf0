"""The tutorials run, and what they show may stand on the site.

Each runs once. If `FEEDRACE_TUTORIALS` is a folder, the executed notebooks are kept there as a
jupyter-cache, and `sphinx-build -D nb_execution_mode=cache -D nb_execution_cache_path=FOLDER` shows
them without running them again.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("PIL", "feedrace_testing", "hatchling", "ipykernel", "optax", "pip", "sklearn"):
    pytest.importorskip(module)
jupyter_cache = pytest.importorskip("jupyter_cache")
base = pytest.importorskip("jupyter_cache.base")
nbclient = pytest.importorskip("nbclient")
read = pytest.importorskip("myst_nb.core.read")
pytest.importorskip("matplotlib.font_manager")  # its first import lists the fonts, and says so

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/tutorials"
TUTORIALS = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
# What differs from build to build: durations, and addresses of objects.
VARIES = re.compile(r" at 0x[0-9a-f]+|\b\d[\d.]* ?(?:s|ms|us|seconds)\b")


def executed(path, work):
    """Run a notebook in a folder, and keep it for Sphinx if `FEEDRACE_TUTORIALS` is set."""
    notebook = read.myst_nb_reader_plugin(str(path))
    work.mkdir()
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,  # it would go to the cells, which are the cache's key
        resources={"metadata": {"path": str(work)}},
    ).execute()
    if folder := os.environ.get("FEEDRACE_TUTORIALS"):
        bundle = base.CacheBundleIn(notebook, str(path))
        cache = jupyter_cache.get_cache(folder)
        cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return notebook


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_and_shows_nothing_of_this_machine(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")  # whether a bar comes depends on the machine's load
    before = set(FOLDER.iterdir())
    notebook = executed(FOLDER / f"{name}.md", tmp_path / "work")

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    plain = [output.text for output in outputs if "text" in output]
    plain += [output.data["text/plain"] for output in outputs if "data" in output]
    html = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert plain
    for folder in (tmp_path, ROOT, Path(sys.prefix), Path.home()):
        assert [text for text in plain + html if f"{folder}/" in text] == []
    assert [found for text in plain for found in VARIES.findall(text)] == []
    assert set(FOLDER.iterdir()) == before


NOTED = """---
file_format: mystnb
kernelspec: {{name: python3}}
---

# Noted

```{{code-cell}} python
with open({runs!r}, "a") as file:
    file.write("once ")
print("shown", 6 * 7)
```
"""


def test_sphinx_shows_what_was_kept_and_runs_nothing(tmp_path, monkeypatch):
    kept, docs, runs = tmp_path / "kept", tmp_path / "docs", tmp_path / "runs.txt"
    monkeypatch.setenv("FEEDRACE_TUTORIALS", str(kept))
    docs.mkdir()
    (docs / "conf.py").write_text("extensions = ['myst_nb']\n")
    (docs / "index.md").write_text(NOTED.format(runs=str(runs)))
    executed(docs / "index.md", tmp_path / "work")
    settings = ["-D", "nb_execution_mode=cache", "-D", f"nb_execution_cache_path={kept}"]
    command = [sys.executable, "-m", "sphinx", "-q", "-W", *settings, docs, tmp_path / "html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "shown 42" in (tmp_path / "html/index.html").read_text()
    assert runs.read_text() == "once "
