"""`feedrace verify-resume`: runs that are stopped, each part in a process of its own."""

import json

import pytest
from click.testing import CliRunner

from feedrace.cli import main

pytestmark = pytest.mark.slow

CONFIG = {
    "seed": 3,
    "batch_size": 4,
    "source": {"use": "memory", "data": {"x": list(range(22))}, "shuffle": True},
    "stages": [{"use": "flip", "field": "x"}],
}
# A source that forgets what its seed was: resumed, it orders its records in another way.
FORGETFUL = """
import os
import numpy as np
import feedrace

class Forgetful:
    config = None
    def __len__(self): return 10_007  # more than process ids are apart
    def element_spec(self):
        return feedrace.create("source", "memory", data={"x": [1]}).element_spec()
    def fetch(self, indices): return {"x": np.asarray(indices, np.int32)}
    def indices(self, start, stop):
        return (np.arange(start, stop) + os.getpid()) % 10_007

@feedrace.plugin.hookimpl
def feedrace_components():
    yield feedrace.plugin.Component(kind="source", name="forgetful", target="forgetful:Forgetful",
                             summary="Forgets.")
FEEDRACE_API = 1
"""


def test_a_pipeline_that_resumes_exactly_is_proved_to(tmp_path):
    config = {**CONFIG, "stages": []}
    (tmp_path / "p.json").write_text(json.dumps(config))
    done = CliRunner().invoke(
        main, ["verify-resume", str(tmp_path / "p.json"), "--stops", "2", "--json"]
    )
    assert done.exit_code == 0, done.output
    verdict = json.loads(done.output)
    assert verdict["steps"] == 6
    assert verdict["records"] == 22
    assert len(verdict["stops"]) == 2
    assert verdict["difference"] == ""


def test_a_source_that_forgets_is_found_out(tmp_path, monkeypatch):
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    info = tmp_path / "forgetful-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: forgetful\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[feedrace]\nforgetful = forgetful\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = {"batch_size": 4000, "source": {"use": "forgetful/forgetful"}}
    (tmp_path / "p.json").write_text(json.dumps(config))
    done = CliRunner().invoke(main, ["verify-resume", str(tmp_path / "p.json"), "--stops", "1"])
    assert done.exit_code == 1, done.output
    assert "step 1: records [" in done.output
    assert "instead of [" in done.output


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "batch_size": 100, "stages": []}, "a run of 1 steps cannot be stopped"),
        (
            {**CONFIG, "stages": [], "sampler": {"use": "sequential", "num_epochs": -1}},
            "its pass never ends; give the number of steps",
        ),
        ({**CONFIG, "stages": [{"use": "rescale", "field": "y"}]}, "no field 'y'"),
    ],
)
def test_what_cannot_be_verified_is_named(tmp_path, config, message):
    (tmp_path / "p.json").write_text(json.dumps(config))
    done = CliRunner().invoke(main, ["verify-resume", str(tmp_path / "p.json")])
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output
