"""Where the time goes, and what is reported if no batch comes."""

import signal
import threading
import time
import warnings

import jax
import numpy as np
import pytest

from feedrace import Pipeline, create
from feedrace.errors import FeedraceError, StallWarning
from feedrace.host.prefetch import Prefetched
from feedrace.host.timing import advice


class Slow:
    """A source whose every fetch takes so many seconds, half of it for decoding."""

    def __init__(self, seconds, n=12):
        self.seconds, self.n, self.decode_seconds = seconds, n, 0.0

    def __len__(self):
        return self.n

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        time.sleep(self.seconds)
        self.decode_seconds += self.seconds / 2
        return {"x": np.asarray(indices, np.int32)}


@pytest.mark.parametrize("prefetch", [0, 2])
def test_stats_say_that_the_source_is_waited_for(prefetch):
    pipeline = Pipeline(source=Slow(0.03), batch_size=2, prefetch=prefetch)
    assert pipeline.stats()["steps"] == 0
    assert advice(pipeline.stats()) == "Nothing was run yet."
    list(pipeline)
    stats = pipeline.stats()
    assert stats["steps"] == 6
    assert stats["records"] == 12
    assert 0.07 < stats["seconds"]["decode"] < 0.12
    assert stats["seconds"]["source"] >= 0.08
    assert stats["seconds"]["waiting"] > stats["seconds"]["training"]
    assert stats["input_bound"] > 0.5
    assert "is 'source'" in advice(stats) or "is 'decode'" in advice(stats)


def test_stats_say_that_training_is_the_limit():
    pipeline = Pipeline(source=Slow(0.0), batch_size=2)
    list(pipeline)  # what is compiled, is
    before = pipeline.stats()["seconds"]
    for _ in pipeline:
        time.sleep(0.05)
    stats = pipeline.stats()
    spent = {part: stats["seconds"][part] - before[part] for part in ("waiting", "training")}
    assert spent["training"] >= 0.25 > spent["waiting"]
    assert 0 < stats["mean_queue_depth"] <= 2
    assert stats["queue_depth"] in (0, 1, 2)


def test_advice_where_training_is_the_limit():
    seconds = dict.fromkeys(("source", "decode", "batch", "host stages", "transfer"), 0.1)
    stats = {"steps": 3, "input_bound": 0.02, "seconds": seconds}
    assert advice(stats) == "The loop waited for data 2% of the time: the input is not the limit."


def test_a_stall_names_the_part_and_the_records():
    pipeline = Pipeline(source=Slow(0.5, n=2), batch_size=2, stall_seconds=0.1)
    with pytest.warns(StallWarning, match=r"no batch for 0\.\d s: the thread .* 'source' of stream "
                      r"'train', epoch 0, update 1, records \[0, 1\]"):  # fmt: skip
        list(pipeline)


def test_a_stall_may_be_made_an_error():
    pipeline = Pipeline(source=Slow(0.4, n=2), batch_size=2, stall_seconds=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StallWarning)
        with pytest.raises(StallWarning):
            list(pipeline)


@pytest.mark.parametrize("wrong", [0, -1.0, "1", True, None])
def test_a_wrong_bound_is_refused(wrong):
    with pytest.raises(ValueError, match=r"stall_seconds: (.* is not|expected 'float')"):
        Pipeline(source=Slow(0.0), batch_size=2, stall_seconds=wrong)


def test_a_thread_that_dies_is_noticed(monkeypatch):
    monkeypatch.setattr("feedrace.host.prefetch._fill", lambda items, buffer: None)
    with pytest.raises(FeedraceError, match="died without an error"):
        next(Prefetched([1, 2], 1))


def test_a_source_that_ends_its_thread_is_reported_at_its_step():
    class Exits(Slow):
        def fetch(self, indices):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(Pipeline(source=Exits(0.0), batch_size=2))
    assert not [t for t in threading.enumerate() if t.name == "feedrace-prefetch"]


def test_ctrl_c_while_waiting_ends_the_loop_and_the_thread(request):
    import _thread

    # A program that is started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    pipeline = Pipeline(source=Slow(0.3), batch_size=2)
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt), pipeline.steps() as steps:
        for _ in steps:
            pass
    timer.join()
    assert not [t for t in threading.enumerate() if t.name == "feedrace-prefetch"]
    pipeline.reset()
    assert len(list(pipeline)) == 6


def test_stats_of_records_on_the_device_are_those_of_one_program():
    pipeline = Pipeline(source=create("source", "memory", data={"x": np.arange(50)}), batch_size=4)
    list(pipeline)
    seconds = pipeline.stats()["seconds"]
    assert seconds["stages"] > 0
    assert seconds["source"] == seconds["transfer"] == 0
