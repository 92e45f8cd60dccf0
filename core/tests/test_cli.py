import json
import sys

import pytest
from click.testing import CliRunner

from feedrace.cli import main
from feedrace.cli.run import _timed

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
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert {"cast", "flip", "one-hot", "rescale", "select"} <= listed
    assert "memory" not in listed
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


def test_the_rate_of_a_stream_counts_the_time_of_its_own_steps(config, monkeypatch):
    """A slow stream beside it makes no stream slower."""
    train = json.loads(call("run", config, "--json").stdout)["streams"]["train"]
    assert train["records_per_s"] == pytest.approx(3 / train["waiting_s"], rel=1e-3, abs=0.1)
    clock = iter(range(0, 1000, 10))
    steps = [Step("train", 3), Step("test", 5), Step("train", 3)]
    report = {}
    with monkeypatch.context() as patch:
        patch.setattr("time.perf_counter", lambda: next(clock))
        for step in _timed(steps, report):
            if step.stream == "test":
                next(clock)  # time of the caller, which is no stream's
    assert report == {
        "train": {"steps": 2, "records": 6, "waiting_s": 20},
        "test": {"steps": 1, "records": 5, "waiting_s": 10},
    }


class Step:
    def __init__(self, stream, records):
        self.stream, self.indices, self.batch = stream, range(records), {}


def test_metrics_without_the_prometheus_client_name_what_installs_it(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = call("run", config, "--metrics-port", "0", "--json")
    assert done.exit_code == 1
    error = json.loads(done.stdout)
    assert error["error"] == "NotInstalledError"
    assert "core[prometheus]" in error["fix"]


def test_json_of_a_run_is_all_that_is_printed(config):
    done = call("run", config, "--json")
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
