"""`feedrace plugins check`, with plugins good and broken on a path."""

import importlib.metadata
import json

import pytest
from click.testing import CliRunner

import feedrace
from feedrace.cli import main
from feedrace_testing import inspection, temporary_plugin

__all__ = ["temporary_plugin"]  # a fixture

GOOD = '''
import attrs
from feedrace.plugin import Component, SamplerConfig, hookimpl, integer
FEEDRACE_API = 1

@hookimpl
def feedrace_components():
    yield Component(kind="sampler", name="thing", target="{module}:Thing",
                    config="{module}:Config", summary="A thing.", aliases=["old-thing"],
                    capabilities=["exactly-once"])

@attrs.frozen(kw_only=True)
class Config(SamplerConfig):
    """size: how large it is."""

    size: int = attrs.field(default=3, validator=integer(1))

class Thing:
    def __init__(self, config):
        self.config = config

    def __len__(self):
        return 1

    def indices(self, start, stop):
        return list(range(start, stop))
'''


def call(*arguments):
    return CliRunner().invoke(main, ["plugins", *arguments])


def test_check_of_a_good_plugin_is_green(temporary_plugin):
    temporary_plugin("mine", GOOD, dist="my-dist")
    done = call("check", "my-dist")
    assert done.exit_code == 0, done.output
    assert "ok  plugin mine: my-dist 1.0 declares 1 component\n" in done.stdout
    assert "nothing heavy" in done.stdout
    assert "ok  sampler mine/thing: A thing." in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FEEDRACE_API = 1", "FEEDRACE_API = 2", "FEEDRACE_API = 2"),
        ("import attrs", "import attrs\nraise OSError('gone')", "OSError: gone"),
        ("import attrs", "import attrs, numpy", "with numpy"),
        ("import attrs", "import attrs; sum(range(2 * 10**7))", "have 50 ms"),
        (', summary="A thing."', "", "has no summary"),
        ("frozen(kw_only=True)\nclass Config(SamplerConfig)", "define\nclass Config",
         "Config can be changed"),
        ("size: int =", "sizes: list = []\n    size: int =", "mutable default"),
        ("size: int =", 'size: "Nothing" =', "an annotation that does not resolve"),
        ("size: how", "large: how", "does not describe size"),
        ("def indices", "def index", "Thing is not a sampler: lacks indices"),
        ("self, config", "self, config, more", "cannot be called with its config"),
        (":Thing", ":Thong", "does not load: AttributeError"),
        (':Thing"', ':FEEDRACE_API"', "cannot be called"),
        ('name="thing"', 'name="sequential"', "means builtin/sequential of feedrace"),
        ('name="thing"', 'name="Thing"', "kebab-case"),
        ('kind="sampler"', 'kind="sampel"', "'sampel' is none of"),
    ],
)  # fmt: skip
def test_check_names_each_fault(temporary_plugin, old, new, message):
    assert old in GOOD
    temporary_plugin("mine", GOOD.replace(old, new), dist="my-dist")
    done = call("check", "mine", "--json")
    assert done.exit_code == 1, done.output
    wrong = [finding for finding in json.loads(done.stdout) if not finding["ok"]]
    assert any(message in finding["detail"] for finding in wrong), wrong
    assert all(finding["fix"] for finding in wrong)


def test_check_of_a_folder_reads_the_name_of_its_project(temporary_plugin, tmp_path, monkeypatch):
    temporary_plugin("mine", GOOD, dist="my-dist")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    assert "names no project" in call("check", ".").output
    (project / "pyproject.toml").write_text('[project]\nname = "my_dist"\n')
    assert call("check", ".").exit_code == 0
    (project / "pyproject.toml").write_text('[project]\nname = "other-dist"\n')
    done = call("check", ".")
    assert done.exit_code == 1
    assert "BAD dist other-dist: not installed in this environment" in done.stdout
    assert "pip install -e ." in done.stdout
    (project / "pyproject.toml").write_text('[project]\nname = "pytest"\n')
    assert "no entry point in the group feedrace" in call("check", ".").stdout


def test_check_without_a_name_looks_at_all_plugins(temporary_plugin):
    temporary_plugin("mine", GOOD, dist="my-dist")
    temporary_plugin("bad", "raise OSError('no such library')")
    done = call("check")
    assert done.exit_code == 1
    assert "ok  sampler mine/thing" in done.stdout
    assert "BAD plugin bad" in done.stdout


def test_check_works_beside_a_broken_plugin_and_broken_metadata(temporary_plugin, tmp_path):
    temporary_plugin("bad", "raise OSError('no such library')")
    wreck = tmp_path / "site/wreck-1.dist-info"
    wreck.mkdir()
    (wreck / "entry_points.txt").write_bytes(b"\xff\xfe")
    temporary_plugin("fine", GOOD)
    done = call("check", "fine")
    assert done.exit_code == 0, done.output
    assert "Traceback" not in done.output


def test_a_class_without_call_is_not_a_stage(temporary_plugin):
    stage = GOOD.replace('kind="sampler"', 'kind="stage"').replace('["exactly-once"]', "[]")
    temporary_plugin("mine", stage)
    assert "Thing is not a stage: lacks __call__" in call("check", "mine").stdout


@pytest.mark.parametrize("name", ["nosuch", "feedrace-nosuch", "a b", ""])
def test_an_unknown_name_is_not_proposed_to_pip(temporary_plugin, name):
    temporary_plugin("mine", GOOD, dist="my-dist")
    (finding,) = json.loads(call("check", name, "--json").stdout)
    assert "not installed" in finding["detail"]
    assert "pip" not in finding["fix"]
    assert any(text in finding["fix"] for text in ("my-dist", "did you mean"))


def test_a_misspelt_name_gets_the_nearest_one(temporary_plugin):
    temporary_plugin("mine", GOOD, dist="my-dist")
    (finding,) = json.loads(call("check", "my-dits", "--json").stdout)
    assert finding["fix"] == "did you mean 'my-dist'?"


@pytest.mark.parametrize("name", ["tfds", "feedrace-tfds", "Feedrace_TFDS"])
def test_a_first_party_plugin_that_is_not_installed_gets_its_pip_line(monkeypatch, name):
    monkeypatch.setattr("importlib.metadata.distributions", list)
    monkeypatch.setattr("importlib.metadata.version", _missing)
    monkeypatch.setattr("feedrace.errors._checkout", lambda: None)
    feedrace.refresh()
    (finding,) = inspection.check(name)
    feedrace.refresh()
    assert "pip install 'feedrace[tfds]'" in finding.fix


def _missing(name):
    raise importlib.metadata.PackageNotFoundError(name)
