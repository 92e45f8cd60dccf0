import json

import pytest
from click.testing import CliRunner

from feedrace.cli import main

CONFIG = """
batch_size = 2
[source]
use = "memory"
data = { x = [1.0, 2.0, 3.0] }
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    return str(path)


def call(*arguments):
    return CliRunner().invoke(main, arguments)


def test_run_reports_each_stream(config):
    done = call("run", config, "--json")
    assert done.exit_code == 0, done.output
    train = json.loads(done.stdout)["streams"]["train"]
    assert (train["steps"], train["records"]) == (2, 3)
    assert train["batch"] == {"valid_mask": "bool[2]", "x": "float32[2]"}
    assert train["records_per_s"] > 0
    assert train["waiting_s"] > 0
    text = call("run", config)
    assert "train: 2 steps, 3 records," in text.stdout
    assert "x: float32[2]" in text.stdout


def test_run_stops_after_the_steps_asked_for(config):
    done = call("run", config, "--steps", "1", "--json")
    assert json.loads(done.stdout)["streams"]["train"]["steps"] == 1


def test_describe_shows_components_and_steps(config):
    done = call("describe", config)
    assert "source: builtin/memory (feedrace " in done.stdout
    assert "train: 3 records, 2 steps of 2 per epoch, epochs in a pass: 1" in done.stdout
    described = json.loads(call("describe", config, "--json").stdout)
    assert [part["path"] for part in described["components"]] == ["source", "scheduler"]
    assert described["streams"]["train"]["steps_per_epoch"] == 2


def test_plugins_list_filters_by_kind():
    done = call("plugins", "list", "--kind", "stage")
    assert [line.split()[1] for line in done.stdout.splitlines()] == [
        "cast",
        "flip",
        "one-hot",
        "rescale",
        "select",
    ]
    rows = json.loads(call("plugins", "list", "--json").stdout)["components"]
    assert {"memory", "sequential", "single"} <= {row["name"] for row in rows}


def test_an_error_is_one_message_without_a_traceback(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('batch_size = 0\n[source]\nuse = "memori"\n')
    done = call("run", str(path))
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert "batch_size: 0 is not an int" in done.output
    assert "source.use: no source is called 'memori'" in done.output
    assert "none.toml' does not exist" in call("run", str(tmp_path / "none.toml")).output
