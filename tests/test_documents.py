"""The documents hold: their Python runs, and they have every public name and option."""

import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import feedrace
import feedrace_testing
from feedrace.pipeline.options import read_options

ROOT = Path(__file__).parents[1]
FILES = ["README.md", "core/README.md", "plugins/samplers/README.md", "plugins/batchers/README.md",
         "plugins/tfds/README.md", "plugins/testing/README.md", "docs/start.md", "docs/sources.md",
         "plugins/text/README.md", "plugins/files/README.md",
         "plugins/arrow/README.md"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_python_of_a_document_runs(name, monkeypatch):
    monkeypatch.chdir(ROOT / "docs/examples/digits")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)


def test_the_python_of_the_page_on_accelerators_runs(tmp_path):
    optax, ocp = pytest.importorskip("optax"), pytest.importorskip("orbax.checkpoint")

    class Scale(nnx.Module):
        def __init__(self):
            self.factor = nnx.Param(jnp.float32(2))

        def __call__(self, batch):
            return {**batch, "x": batch["x"] * self.factor}

    data = {"x": np.ones((30, 4), np.float32), "y": np.ones((30, 1), np.float32)}
    pipeline = feedrace.Pipeline(
        source=feedrace.create("source", "memory", data=data), stages=[Scale()], batch_size=8
    )
    model = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    with ocp.CheckpointManager(tmp_path / "saved") as manager:
        names = {"np": np, "jax": jax, "nnx": nnx, "ocp": ocp, "manager": manager, "step": 1}
        names |= {"pipeline": pipeline, "loss": lambda batch: batch["x"].mean()}
        names |= {"model": model, "optimizer": nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)}
        names["model_state"] = nnx.state(model)
        page = (ROOT / "docs/accelerators.md").read_text()
        blocks = re.findall(r"^ *```python\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
        assert len(blocks) == 4
        for block in blocks:
            exec(compile(textwrap.dedent(block), "accelerators.md", "exec"), names)
        assert manager.latest_step() == 1
    batch = names["Length"]()({"text": np.array(["a", None]), "valid_mask": np.array([True, True])})
    assert batch["length"].tolist() == [1, 0]
    assert names["losses"].shape == (4,)
    assert [float(leaf) for leaf in jax.tree.leaves(names["gradients"])] == [1.0]


def test_the_source_of_files_in_the_guide_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path / "cache"))
    points = np.arange(30, dtype="<f4").reshape(10, 3)
    points[7, 1] = np.nan
    (tmp_path / "points").mkdir()
    for i, part in enumerate(np.split(points, 2)):
        (tmp_path / "points" / f"{i}.points").write_bytes(part.tobytes())
    section = (ROOT / "docs/plugins.md").read_text().partition("## A source that reads files")[2]
    names = {}
    exec(
        compile(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], "plugins.md", "exec"),
        names,
    )
    source = names["source"]
    assert {key: values.tolist() for key, values in names["batch"].items()} == {
        "x": [0, 6], "z": [2, 8]
    }  # fmt: skip
    batches = list(feedrace.Pipeline(source=source, batch_size=4))
    seen = np.concatenate([np.asarray(b["x"])[np.asarray(b["valid_mask"])] for b in batches])
    assert sorted(seen) == [0, 3, 6, 9, 12, 15, 18, 24, 27]
    (bad,) = source.bad_records
    assert (bad.number, bad.reason) == (7, "a coordinate is not a number")


def test_the_python_of_the_page_on_storage_runs(monkeypatch, tmp_path):
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FEEDRACE_CACHE_DIR", str(tmp_path))
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/storage.md").read_text(), re.DOTALL)
    exec(compile(block, "storage.md", "exec"), {})


def test_the_config_of_the_page_on_storage_is_valid(tmp_path):
    page = (ROOT / "docs/storage.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "c.toml").write_text(block)
    config = read_options(tmp_path / "c.toml").source.config
    assert config.storage_options == {"anon": True}
    assert config.cache_bytes == 10**11


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("feedrace", feedrace.__all__),
        ("feedrace.plugin", dir(feedrace.plugin)),
        ("feedrace_testing", feedrace_testing.__all__),
    ],
    ids=["feedrace", "feedrace.plugin", "feedrace_testing"],
)
def test_the_api_page_has_every_public_name(module, names):
    page = (ROOT / "docs/api.md").read_text()
    assert names
    mentioned = {name for name in names if re.search(rf"[.`]{name}\b", page)}
    assert sorted(set(names) - mentioned) == []


def test_a_module_on_the_api_page_defines_what_the_page_is_to_show():
    """Sphinx leaves out what a module imports from another."""
    modules = re.findall(
        r"^.. automodule:: (\S+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE
    )
    assert modules
    for name in modules:
        values = vars(importlib.import_module(name)).values()
        assert any(getattr(value, "__module__", "") == name for value in values), name


def test_the_table_of_options_matches_the_schema_of_configs():
    command = [sys.executable, "-m", "feedrace.cli", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    schema = json.loads(done.stdout)
    table = (ROOT / "docs/configs.md").read_text().partition("| --- |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(set(schema["properties"]) - {"$schema"})
    for name, shown in rows:
        assert (shown == "required") == (name in schema["required"]), name
        default = schema["properties"][name].get("default")
        if isinstance(default, bool):
            assert shown == f"`{json.dumps(default)}`", name
        elif default is not None:
            assert shown == f"{default:g}", name
