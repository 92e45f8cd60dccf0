"""`feedrace plugins new`: what it writes is declared, checked and found by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import copier
import pytest
from click.testing import CliRunner

import feedrace
from feedrace.cli import main
from feedrace.plugin import KINDS, registry
from feedrace_testing.inspection import check


def call(*arguments):
    return CliRunner().invoke(main, ["plugins", "new", *arguments])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    feedrace.refresh()
    for name in list(sys.modules):
        if name.startswith("my_"):
            del sys.modules[name]


def install(project):
    """Do what `pip install -e` would: write a dist-info folder; return what goes on the path."""
    name = project.name
    module = name.replace("-", "_")
    info = project / "src" / f"{module}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[feedrace]\n{name} = {module}.plugin\n")
    return str(project / "src")


@pytest.mark.slow
def test_a_new_plugin_of_each_kind_passes_its_own_tests(here):
    for kind in KINDS:
        assert call(f"my-{kind}", "--kind", kind).exit_code == 0
    path = os.pathsep.join([*(install(here / f"my-{kind}") for kind in KINDS), *sys.path])
    tests = [f"my-{kind}/tests" for kind in KINDS]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *tests],
                          env={**os.environ, "PYTHONPATH": path}, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_each_kind_is_found_and_well(here, monkeypatch, kind):
    done = call(f"my-{kind}", "--kind", kind, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert made["component"] == f"my-{kind}"
    assert f"pip install -e './my-{kind}[test]'" in made["next"]
    project = here / f"my-{kind}"
    assert {str(path.relative_to(made["folder"])) for path in map(Path, made["files"])} >= {
        ".copier-answers.yml", "README.md", "pyproject.toml", f"src/my_{kind}/config.py",
        f"src/my_{kind}/my_{kind}.py", f"src/my_{kind}/plugin.py", f"tests/test_my_{kind}.py",
    }  # fmt: skip
    monkeypatch.syspath_prepend(install(project))
    feedrace.refresh()
    findings = check(str(project) + "/.")
    assert [finding for finding in findings if not finding.ok] == []
    assert registry.resolve(kind, f"my-{kind}").dist == f"my-{kind}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Sampler", "kebab-case"),
        ("my_sampler", "kebab-case"),
        ("../up", "kebab-case"),
        ("feedrace-", "kebab-case"),
        ("samplers", "is taken"),
        ("feedrace-samplers", "is taken"),
        ("json", "is taken"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(here, name, message):
    done = call(name)
    assert done.exit_code == 1
    assert message in done.output
    assert list(here.iterdir()) == []


def test_a_prefix_is_not_part_of_the_component_s_name(here):
    made = json.loads(call("feedrace-balance", "--into", "elsewhere", "--json").stdout)
    assert made["component"] == "balance"
    assert (here / "elsewhere/src/feedrace_balance/balance.py").is_file()


def test_a_folder_with_something_in_it_is_left_alone(here):
    (here / "my-sampler").mkdir()
    (here / "my-sampler/notes.txt").write_text("mine")
    done = call("my-sampler")
    assert done.exit_code == 1
    assert "is not empty" in done.output
    assert [path.name for path in (here / "my-sampler").iterdir()] == ["notes.txt"]


def test_a_project_can_be_brought_to_a_newer_template(here):
    call("my-sampler")
    config = here / "my-sampler/src/my_sampler/config.py"
    good = config.read_text()
    config.write_text("")
    copier.run_recopy(here / "my-sampler", overwrite=True, quiet=True, defaults=True)
    assert config.read_text() == good
