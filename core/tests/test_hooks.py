"""The hooks: called when they say, by plugins on a path, and all of them documented."""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import feedrace
from feedrace import registry
from feedrace.cli import main
from feedrace.errors import PluginWarning
from feedrace.registry import hookspecs

HOOKS = {
    name: value
    for name, value in vars(hookspecs).items()
    if name.startswith("feedrace_") and callable(value)
}
ALL = """
from feedrace.plugin import hookimpl
FEEDRACE_API = 1
called = []

@hookimpl
def feedrace_before_build(config):
    called.append(("before", config["batch_size"]))

@hookimpl
def feedrace_after_build(pipeline):
    called.append(("after", pipeline.plans["train"].batch_size))

@hookimpl
def feedrace_epoch_end(stream, epoch):
    called.append((stream, epoch))

@hookimpl
def feedrace_state_saved(pipeline, state):
    called.append(("saved", state["counters"]["pass"]))

@hookimpl
def feedrace_state_restored(state):
    called.append(("restored", state["counters"]["pass"]))
"""
CONFIG = {
    "batch_size": 2,
    "source": {"use": "memory", "data": {"x": np.arange(3.0)}},
    "sampler": {"use": "sequential", "num_epochs": 2},
}


def test_every_hook_and_every_argument_is_documented():
    """In the table of docs/plugins.md, and on the page of the hooks themselves."""
    guide = Path(__file__).parents[2] / "docs/plugins.md"
    if not guide.is_file():
        pytest.skip("the documentation is not beside the package")
    rows = dict(re.findall(r"^\| `(feedrace_\w+)\((.*?)\)` \|", guide.read_text(), re.MULTILINE))
    assert rows.keys() == HOOKS.keys()
    for name, hook in HOOKS.items():
        assert hook.__doc__, name
        assert list(inspect.signature(hook).parameters) == [
            argument for argument in rows[name].split(", ") if argument
        ], name


def test_hooks_are_called_before_and_after_building_at_epochs_and_states(site):
    module = site("seer", ALL)
    pipeline = feedrace.build(CONFIG)
    seen = sys.modules[module].called
    assert seen == [("before", 2), ("after", 2)]
    for _ in pipeline:
        pass
    assert seen[2:] == [("train", 0), ("train", 1)]
    state = pipeline.get_state()
    pipeline.set_state(state)
    assert seen[4:] == [("saved", 1), ("restored", 1)]


def test_a_hook_may_take_only_the_arguments_it_needs_and_no_others(site):
    site("greedy", ALL.replace("(stream, epoch)", "(stream, era)"))
    with pytest.warns(PluginWarning, match="era"):
        registry.available()


def test_a_misspelled_hook_is_an_error(site):
    site("typo", ALL.replace("feedrace_epoch_end", "feedrace_epoch_ends"))
    with pytest.warns(PluginWarning, match="unknown hook 'feedrace_epoch_ends'"):
        registry.available()


def test_a_hook_without_its_mark_is_an_error(site):
    site("unmarked", ALL.replace("@hookimpl\ndef feedrace_epoch_end", "def feedrace_epoch_end"))
    with pytest.warns(PluginWarning, match="feedrace_epoch_end is not marked with @hookimpl"):
        registry.available()


def test_what_a_hook_raises_names_the_plugin(site):
    refusing = ALL.replace('called.append(("before"', 'raise ValueError("no"); (("b"')
    site("strict", refusing)
    with pytest.raises(ValueError, match="no") as caught:
        feedrace.build(CONFIG)
    assert caught.value.__notes__ == ["raised by feedrace_before_build of the plugin 'strict'"]


COMMANDS = """
import click
from feedrace.plugin import hookimpl
FEEDRACE_API = 1

@click.command("greet")
def greet():
    "Say hello."
    click.echo("hello")

@click.command("run")
def run():
    click.echo("another run")

@hookimpl
def feedrace_commands():
    yield greet
    yield run
    {more}
"""


@pytest.mark.parametrize("more", ["", "yield 3", "raise OSError('gone')"])
def test_plugins_add_commands_and_replace_none(site, more):
    site("polite", COMMANDS.replace("{more}", more))
    assert CliRunner().invoke(main, ["greet"]).stdout == "hello\n"
    told = CliRunner().invoke(main, ["--help"])
    assert re.search(r"greet +Say hello\.", told.stdout)
    assert ("feedrace: the plugin 'polite' offers" in told.stderr) == bool(more)
    assert "Iterate a pipeline" in CliRunner().invoke(main, ["run", "--help"]).stdout
    assert "No such command 'gret'" in CliRunner().invoke(main, ["gret"]).stderr
