"""`feedrace plugins list | show | why`, with plugins good and broken on a path."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from feedrace import registry
from feedrace.cli import main

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


def test_show_shows_where_a_component_comes_from_and_what_it_takes(site):
    module = site("mine", GOOD, dist="my-dist", version="1.2")
    shown = call("show", "old-thing")
    assert shown.exit_code == 0, shown.output
    for text in ("mine/thing", "my-dist", "1.2", f"{module}:Thing", "exactly-once", "old-thing"):
        assert text in shown.stdout
    assert "  size (int, default 3): how large it is." in shown.stdout
    (component,) = json.loads(call("show", "mine/thing", "--json").stdout)["components"]
    assert {"name": "size", "type": "int", "required": False, "default": "3",
            "description": "how large it is."} in component["fields"]  # fmt: skip
    assert {"cacheable", "stochastic"}.isdisjoint(field["name"] for field in component["fields"])
    rescale = call("show", "rescale", "--kind", "stage").stdout
    assert "field (str, required)" in rescale


def test_show_of_an_unknown_or_broken_name_ends_with_its_error(site):
    site("bad", "raise OSError('no such library')")
    assert "did you mean 'sequential'" in call("show", "sequentail", "--kind", "sampler").output
    shown = call("show", "bad/thing", "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["error"] == "BrokenPluginError"
    assert json.loads(shown.stdout)["fix"]


def test_why_explains_what_wins_and_over_what(site, monkeypatch):
    site("one", GOOD, dist="dist-one")
    site("two", GOOD, dist="dist-two")
    ambiguous = call("why", "thing")
    assert ambiguous.exit_code == 1
    assert "is offered by dist-one (one/thing) and dist-two (two/thing)" in ambiguous.stdout
    monkeypatch.setenv("FEEDRACE_PREFER", "two")
    site("three", GOOD.replace('"thing"', '"sequential"').replace("old-thing", "x"))
    shown = call("why", "old-thing")
    assert shown.exit_code == 0
    assert "sampler 'old-thing' is sampler 'two/thing' of dist-two 1.0" in shown.stdout
    assert "'old-thing' is an alias of 'thing'" in shown.stdout
    assert "before sampler 'one/thing' of dist-one 1.0: FEEDRACE_PREFER" in shown.stdout
    built_in = call("why", "sequential").stdout
    assert "before sampler 'three/sequential' of three 1.0: a built-in cannot be" in built_in


def test_why_shows_the_real_traceback_of_a_broken_plugin(site):
    module = site("bad", "def load():\n    raise OSError('no such library')\nload()")
    shown = call("why", "bad/anything")
    assert shown.exit_code == 1
    assert f'{module}.py", line 2, in load' in shown.stdout
    assert "OSError: no such library" in shown.stdout


def test_why_gives_the_fix_of_what_is_not_there(monkeypatch, site):
    monkeypatch.setattr("importlib.metadata.distributions", list)
    monkeypatch.setattr("feedrace.errors._checkout", lambda: None)
    shown = call("why", "tfds-eager", "--json")
    assert shown.exit_code == 1
    document = json.loads(shown.stdout)
    assert "pip install 'feedrace[tfds]'" in document["lines"][0]
    assert sys.executable in document["lines"][0]
    assert document["kinds"] == []
    assert "did you mean 'rescale'" in call("why", "rescal").stdout
    assert "no source is called" in call("why", "zzzzz", "--kind", "source").stdout
    assert "no component of any kind is called 'zzzzz'" in call("why", "zzzzz").stdout
    assert "no component of any kind is called ''" in call("show", "").output
    other = call("why", "memory", "--kind", "stage").stdout
    assert "no stage is called 'memory'; it is a source" in other


@pytest.mark.parametrize("command", [["list"], ["show", "memory"], ["why", "memory"]])
def test_recovery_commands_work_beside_broken_plugins(site, tmp_path, command):
    site("bad", "raise OSError('no such library')")
    (tmp_path / "wreck-1.dist-info").mkdir()
    (tmp_path / "wreck-1.dist-info/entry_points.txt").write_bytes(b"\xff\xfe")
    site("fine", GOOD)
    done = call(*command)
    assert done.exit_code == 0, done.output
    assert "Traceback" not in done.output


@pytest.mark.together
@pytest.mark.parametrize(
    ("words", "offered"),
    [("feedrace plu", "plugins"), ("feedrace plugins wh", "why"),
     ("feedrace plugins show epo", "epoch-aware"),
     ("feedrace plugins show builtin/seq", "builtin/sequential"),
     ("feedrace plugins list --kind ba", "batcher")],
)  # fmt: skip
def test_the_shell_completes_commands_names_and_kinds(words, offered):
    pytest.importorskip("feedrace_samplers")
    command = Path(sys.executable).with_name("feedrace")
    if not command.exists():
        pytest.skip("the command feedrace is not beside this interpreter")
    environment = {**os.environ, "_FEEDRACE_COMPLETE": "bash_complete", "COMP_WORDS": words,
                   "COMP_CWORD": str(len(words.split()) - 1)}  # fmt: skip
    done = subprocess.run([command], env=environment, capture_output=True, text=True)
    assert f"plain,{offered}" in done.stdout


@pytest.mark.parametrize("command", ["new", "check"])
def test_a_command_for_authors_names_the_dist_that_brings_it(monkeypatch, site, command):
    monkeypatch.setattr("importlib.metadata.distributions", list)
    monkeypatch.setattr("feedrace.errors._checkout", lambda: None)
    registry.refresh()
    missing = call(command, "mine")
    assert missing.exit_code == 1
    assert f"`plugins {command}` comes with feedrace-testing" in missing.output
    assert "not installed" in missing.output
    assert "pip install 'feedrace[testing]'" in missing.output
    as_json = call(command, "mine", "--kind", "stage", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"] == "NotInstalledError"
    assert "pip install 'feedrace[testing]'" in json.loads(as_json.stdout)["fix"]
    assert "not installed" in call(command, "--help").output
    assert command not in call("--help").output.partition("Commands:")[2].split()


def test_a_command_for_authors_says_why_its_dist_is_left_out(monkeypatch, site, tmp_path):
    site("testing", "raise OSError('no such library')", dist="feedrace-testing")
    here = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr("importlib.metadata.distributions", lambda: here)
    registry.refresh()
    assert "no such library" in call("new", "mine").output
    monkeypatch.setenv("FEEDRACE_PLUGINS_DISABLE", "testing")
    registry.refresh()
    assert "switched off by FEEDRACE_PLUGINS" in call("new", "mine").output


ADDED = """
import click
from feedrace.plugin import hookimpl
FEEDRACE_API = 1

@click.group("plugins")
def plugins():
    pass

@plugins.command()
def greet():
    "Say hello."
    click.echo("hello")

@plugins.command("list")
def list_nothing():
    click.echo("nothing")

@hookimpl
def feedrace_commands():
    yield plugins
"""


def test_a_plugin_adds_commands_to_a_group_of_the_core_and_replaces_none(site):
    site("polite", ADDED)
    assert call("greet").stdout == "hello\n"
    shown = call("--help").stdout
    assert re.search(r"greet +Say hello\.", shown)
    assert re.search(r"why +Explain", shown)
    assert "memory" in call("list").stdout
    assert "Iterate a pipeline" in CliRunner().invoke(main, ["--help"]).stdout
    assert "no command is called 'gret'; did you mean 'greet'?" in call("gret").stderr
