"""The authors' guide, followed literally in an empty environment."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from tests.conftest import ROOT, build, run

pytestmark = pytest.mark.wheels

BLOCK = re.compile(
    r"```(?:\{code-block\} \w+\n:caption: (?P<file>\S+)\n\n|sh\n)(?P<text>.*?)```", re.DOTALL
)
METHOD = re.compile(r"    def indices\(.*", re.DOTALL)


def steps_of_the_guide():
    """Yield (file, text) for each block of "Five minutes"; if file is None, text is shell lines."""
    guide = (ROOT / "docs/plugins.md").read_text()
    section = guide.partition("## Five minutes\n")[2].partition("\n## ")[0]
    for block in BLOCK.finditer(section):
        yield block["file"], block["text"]


@pytest.fixture(scope="module")
def environment(wheels, tmp_path_factory):
    """The variables of a shell in which an empty environment is active."""
    folder = tmp_path_factory.mktemp("author") / "venv"
    run(sys.executable, "-m", "venv", folder)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {
        **kept,
        "PATH": os.pathsep.join([str(folder / "bin"), kept["PATH"]]),
        "PIP_FIND_LINKS": str(wheels),
        "FEEDRACE": str(ROOT),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_QUIET": "1",
        "PIP_COMPILE": "0",  # most of the time otherwise, for modules that are never imported
        "VIRTUAL_ENV": str(folder),
        "JAX_PLATFORMS": "cpu",
    }


@pytest.fixture(scope="module")
def followed(environment, tmp_path_factory):
    """The folder in which the guide was followed, and what each shell line printed."""
    folder, printed = tmp_path_factory.mktemp("guide"), {}
    for file, text in steps_of_the_guide():
        if file is None:
            for line in text.strip().splitlines():
                if line.startswith("cd "):
                    folder = folder / line.removeprefix("cd ")
                    continue
                printed[line] = run("bash", "-c", line, cwd=folder, env=environment)
        elif METHOD.search(text):
            written = (folder / file).read_text()
            changed = METHOD.sub(lambda _, text=text: text, written)
            assert changed != written
            (folder / file).write_text(changed)
        else:
            (folder / file).write_text(text)
    return folder, printed


def test_the_guide_has_every_command(followed):
    lines = list(followed[1])
    assert lines[0] == 'pip install -e "$FEEDRACE/core" -e "$FEEDRACE/plugins/testing"'
    assert [line for line in lines if line.startswith("feedrace")] == [
        "feedrace plugins new my-sampler --kind sampler",
        "feedrace run backwards.toml",
        "feedrace plugins check .",
    ]


def test_the_new_sampler_is_used_by_its_name(followed, environment):
    folder, printed = followed
    assert "train: 6 steps, 10 records" in printed["feedrace run backwards.toml"]
    program = (
        "import feedrace; print([x for batch in feedrace.load('backwards.toml')"
        " for x in batch['x'][batch['valid_mask']].round(1).tolist()])"
    )
    out = run("python", "-c", program, cwd=folder, env=environment)
    order = [round(x, 1) for x in json.loads(out)]
    assert order == [0.4, 0.3, 0.2, 0.1, 0.0] * 2


def test_check_is_green_and_its_own_tests_pass(followed):
    _, printed = followed
    checked = printed["feedrace plugins check ."].splitlines()
    assert len(checked) == 3
    assert all(line.startswith("ok  ") for line in checked)
    assert re.search(r"\d+ passed", printed["pytest"])
    assert "failed" not in printed["pytest"]


def test_the_example_is_found_by_name_once_its_wheel_is_installed(
    followed, environment, tmp_path, tmp_path_factory
):
    """`doctor` reports a second install of it on the path."""
    example = shutil.copytree(ROOT / "docs/examples/feedrace-balanced", tmp_path / "example")
    build(example, tmp_path)
    (wheel,) = tmp_path.glob("feedrace_balanced-*.whl")
    refused = subprocess.run(["feedrace", "validate", example / "balanced.toml"], cwd=tmp_path,
                             env=environment, capture_output=True, text=True)  # fmt: skip
    assert refused.returncode == 1
    assert "no sampler is called 'balanced'" in refused.stderr
    run("pip", "install", "-e", example, env=environment)  # a wheel comes beside it below
    out = run("feedrace", "run", example / "balanced.toml", "--json", cwd=tmp_path, env=environment)
    assert json.loads(out.splitlines()[-1])["streams"]["train"]["records"] == 12
    run("feedrace", "plugins", "check", "feedrace-balanced", env=environment)
    run("pytest", "-q", "tests", cwd=example, env=environment)

    other = tmp_path_factory.mktemp("other")
    run("pip", "install", "--no-deps", "--target", other, wheel, env=environment)
    twice = {**environment, "PYTHONPATH": str(other)}
    done = subprocess.run(["feedrace", "doctor", "--json"], env=twice, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 1
    (wrong,) = [row for row in json.loads(done.stdout) if not row["ok"]]
    assert wrong["subject"] == "dist feedrace-balanced"
    assert str(other) in wrong["detail"]
    assert "pip uninstall feedrace-balanced" in wrong["fix"]
    run("feedrace", "doctor", env=environment)
