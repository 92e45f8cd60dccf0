"""TensorFlow is kept off the accelerators and to a few threads."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from feedrace.errors import DataError
from feedrace_tfds.tensorflow_runtime import import_tensorflow, usable_cpus


def stand_in(calls, refuse=()):
    def record(name):
        def call(*arguments):
            if name in refuse:
                raise RuntimeError("initialized already")
            calls.append((name, *arguments))

        return call

    threading = SimpleNamespace(
        set_inter_op_parallelism_threads=record("inter"),
        set_intra_op_parallelism_threads=record("intra"),
    )
    config = SimpleNamespace(set_visible_devices=record("visible"), threading=threading)
    return SimpleNamespace(config=config)


def test_accelerators_are_hidden_and_pools_bounded(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in(calls))
    import_tensorflow(3)
    assert calls == [("visible", [], "GPU"), ("visible", [], "TPU"), ("inter", 3), ("intra", 3)]
    calls.clear()
    import_tensorflow()
    assert calls[2:] == [("inter", usable_cpus()), ("intra", usable_cpus())]


def test_pools_that_run_stay_and_accelerators_that_are_taken_are_an_error(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in(calls, refuse=["inter"]))
    import_tensorflow(3)
    assert len(calls) == 2
    monkeypatch.setitem(sys.modules, "tensorflow", stand_in(calls, refuse=["visible"]))
    with pytest.raises(DataError, match="TensorFlow already holds the accelerators"):
        import_tensorflow()


def test_the_start_up_log_is_hidden_and_nothing_else(monkeypatch, capfd):
    def say(*arguments):
        os.write(2, b"I0000 00:00:17.9 83 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"E0000 00:00:17.9 83 cuda_platform.cc:52] failed call to cuInit\n")
        os.write(2, b"a word of another thread\n")

    made = stand_in([])
    made.config.set_visible_devices = say
    monkeypatch.setitem(sys.modules, "tensorflow", made)
    import_tensorflow(1)
    assert capfd.readouterr().err == "a word of another thread\n" * 2


def test_importing_the_real_tensorflow_prints_nothing():
    pytest.importorskip("tensorflow")
    program = "from feedrace_tfds.tensorflow_runtime import import_tensorflow; import_tensorflow(1)"
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
