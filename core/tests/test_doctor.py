"""`feedrace doctor` and the health hook, with real dist-info folders on a path."""

import json

import pytest
from click.testing import CliRunner

from feedrace.cli import main
from feedrace.plugin import Health
from feedrace.registry.health import findings

HEALTH = """
from feedrace.plugin import Health, hookimpl
FEEDRACE_API = 1

@hookimpl
def feedrace_health():
    yield Health("reservoir", {ok}, "half full", "wait for rain")
    {more}
"""


def health(ok="True", more=""):
    return HEALTH.replace("{ok}", ok).replace("{more}", more)


def call(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def test_python_and_libraries_have_their_versions():
    shown = {finding.subject: finding for finding in findings()}
    assert shown["python"].ok
    assert shown["feedrace"].ok
    assert ", which fits >=" in shown["jax"].detail
    assert shown["flax"].ok


def test_findings_of_plugins_are_shown(site):
    site("fine", health())
    done = call()
    assert done.exit_code == 0, done.output
    assert "ok  reservoir: half full" in done.stdout
    assert "ok  plugin fine: fine 1.0, 0 components" in done.stdout


def test_a_bad_finding_ends_with_status_1_and_its_fix(site):
    site("poor", health(ok="False"))
    done = call("--json")
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert {
        "subject": "reservoir",
        "ok": False,
        "detail": "half full",
        "fix": "wait for rain",
    } in rows
    assert "fix: wait for rain" in call().stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("raise RuntimeError('dry')", "its health check failed: RuntimeError: dry"),
        ("yield 7", "its health check gave 7"),
    ],
)
def test_a_health_check_that_fails_is_a_finding_and_hides_no_other(site, more, message):
    site("odd", health(more=more))
    shown = {(f.subject, f.ok): f.detail for f in findings()}
    assert shown["reservoir", True] == "half full"
    assert shown["plugin odd", False].startswith(message)


def test_a_broken_plugin_is_a_finding_with_its_fix(site):
    site("bad", "raise OSError('no such library')", version="3.1")
    done = call()
    assert done.exit_code == 1
    assert "BAD plugin bad: plugin 'bad' of bad 3.1" in done.stdout
    assert "FEEDRACE_PLUGINS_DISABLE=bad" in done.stdout


def test_a_requirement_that_is_not_met_is_a_finding(site, tmp_path):
    site("needy", health(), requires=["jax>=99", "no-such-dist"])
    shown = {f.subject: f for f in findings()}
    needs = shown["jax for plugin needy"]
    assert not needs.ok
    assert "jax>=99 is needed" in needs.detail
    assert "pip install 'jax>=99'" in needs.fix
    assert "not installed" in shown["no-such-dist for plugin needy"].detail


@pytest.mark.parametrize("variable", ["FEEDRACE_PLUGINS_DISABLE", "FEEDRACE_PREFER"])
def test_a_misspelled_plugin_in_a_variable_is_a_finding(site, monkeypatch, variable):
    monkeypatch.setenv(variable, "reservoirs, samplers, something-quite-different")
    site("reservoir", health())
    (wrong,) = [finding for finding in findings() if not finding.ok]
    assert wrong.subject == variable
    assert "'reservoirs', which no plugin is called; did you mean 'reservoir'?" in wrong.detail


def test_a_health_record_is_frozen():
    with pytest.raises(AttributeError):
        Health("a", True, "b").ok = False
