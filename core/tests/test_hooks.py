"""The hooks: called when they say, by plugins on a path, and all of them documented."""

import re

import pytest
from click.testing import CliRunner

from feedrace import registry
from feedrace.cli import main
from feedrace.errors import PluginWarning

HEALTH = """
from feedrace.plugin import Health, hookimpl
FEEDRACE_API = 1

@hookimpl
def feedrace_health():
    yield Health("well", True, "half full")
"""


def test_a_hook_takes_no_argument_that_its_specification_lacks(site):
    site("greedy", HEALTH.replace("feedrace_health()", "feedrace_health(era)"))
    with pytest.warns(PluginWarning, match="era"):
        registry.available()


def test_a_misspelled_hook_is_an_error(site):
    site("typo", HEALTH.replace("def feedrace_health", "def feedrace_healths"))
    with pytest.warns(PluginWarning, match="unknown hook 'feedrace_healths'"):
        registry.available()


def test_a_hook_without_its_mark_is_an_error(site):
    site("unmarked", HEALTH.replace("@hookimpl\n", ""))
    with pytest.warns(PluginWarning, match="feedrace_health is not marked with @hookimpl"):
        registry.available()


def test_a_hook_wrapper_is_an_error(site):
    site("wraps", HEALTH.replace("@hookimpl", "@hookimpl(wrapper=True)"))
    with pytest.warns(PluginWarning, match="feedrace_health is a hook wrapper"):
        registry.available()


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
    shown = CliRunner().invoke(main, ["--help"])
    assert re.search(r"greet +Say hello\.", shown.stdout)
    assert ("feedrace: the plugin 'polite' offers" in shown.stderr) == bool(more)
    assert "Iterate a pipeline" in CliRunner().invoke(main, ["run", "--help"]).stdout
    assert "no command is called 'gret'" in CliRunner().invoke(main, ["gret"]).stderr
