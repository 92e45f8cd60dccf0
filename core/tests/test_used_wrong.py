"""What one may try first, and is not so here: each error shows what to write instead."""

import warnings
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import feedrace
from feedrace import Pipeline
from feedrace.errors import ConfigError, DataError, DataWarning

DATA = {"x": np.arange(6, dtype=np.float32), "label": np.arange(6)}


class OnHost:
    on = "host"

    def __init__(self, function):
        self.function = function

    def __call__(self, batch):
        return self.function(batch)


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("batch", lambda x: x / 255),
        ("batch", lambda x: x.astype(np.float16)),
        ("batch", jnp.sin),
        ("batch", OnHost(lambda x: x / 255)),
        ("record", feedrace.record(lambda x: x / 255)),
    ],
    ids=["number", "method", "jnp", "host", "record"],
)
def test_a_function_of_an_array_as_a_stage_gets_the_line_that_works(place, stage):
    with pytest.raises((TypeError, AttributeError)) as caught:
        next(iter(Pipeline(source=DATA, stages=[stage], batch_size=2)))
    (note,) = [one for one in caught.value.__notes__ if "function of one array" in one]
    line = note.partition("write ")[2]
    assert line.startswith(f"lambda {place}: ")
    written = eval(line, {"function": stage})
    fixed = {"x": np.full(2, 0.5, np.float32), "label": np.zeros(2)}
    assert written(fixed)["x"].shape == (2,)
    if place == "batch" and not isinstance(stage, OnHost):
        batch = next(iter(Pipeline(source=DATA, stages=[written], batch_size=2)))
        assert batch["x"].shape == batch["label"].shape == (2,)


def test_an_error_of_a_stage_that_takes_batches_gets_no_such_line():
    def fails(batch):
        raise ValueError("its own")

    for stage in (fails, OnHost(fails), feedrace.record(fails)):
        with pytest.raises(ValueError, match="its own") as caught:
            next(iter(Pipeline(source=DATA, stages=[stage], batch_size=2)))
        assert not [one for one in caught.value.__notes__ if "one array" in one]


def test_dropout_is_no_stage():
    for dropout in (nnx.Dropout(0.5), nnx.Dropout(0.5, rngs=nnx.Rngs(0))):
        with pytest.raises(ConfigError, match=r"stages\[0\]: nnx.Dropout changes .* its keys$"):
            Pipeline(source=DATA, stages=[dropout], batch_size=2, seed=0)


@pytest.mark.parametrize("wrap", [lambda f: f, OnHost], ids=["device", "host"])
def test_a_stage_that_drops_the_mask_is_refused(wrap):
    wrong = wrap(lambda batch: {"x": batch["x"]})
    with pytest.raises(DataError, match=r"stage .* dropped 'valid_mask'.* return {\*\*batch, ...}"):
        next(iter(Pipeline(source=DATA, stages=[wrong], batch_size=2)))
    for prefetch in (0, 2):
        right = wrap(lambda batch: {name: batch[name] for name in ("x", "label", "valid_mask")})
        pipeline = Pipeline(source=DATA, stages=[right], batch_size=2, prefetch=prefetch)
        assert len(list(pipeline)) == 3


def test_a_list_of_records_from_fetch_is_refused_with_what_makes_arrays_of_it():
    class Listing:
        def __len__(self):
            return 4

        def element_spec(self):
            return {"x": SimpleNamespace(shape=(2,), dtype=np.dtype(np.float32))}

        def fetch(self, numbers):
            return [{"x": np.full(2, number, np.float32)} for number in numbers]

    class Stacking(Listing):
        def fetch(self, numbers):
            return eval(expression, {"np": np, "records": super().fetch(numbers)})

    with pytest.raises(DataError, match=r"Listing.fetch returned .*the source `records`") as caught:
        next(iter(Pipeline(source=Listing(), batch_size=4)))
    expression = str(caught.value).partition("of a list of records, ")[2].partition("; an")[0]
    (batch,) = Pipeline(source=Stacking(), batch_size=4)
    assert batch["x"].tolist() == [[n, n] for n in range(4)]


def test_an_empty_source_is_one_problem_with_or_without_a_sampler():
    class Empty:
        def __len__(self):
            return 0

        def element_spec(self):
            return {}

        def fetch(self, numbers):
            raise AssertionError

    for sampler in (None, {"use": "sequential"}):
        with pytest.raises(ConfigError) as caught:
            Pipeline(source=Empty(), sampler=sampler, batch_size=1)
        (problem,) = caught.value.problems
        assert problem.path == "source"
        assert "Empty has 0 records" in problem.message
        assert "its path, its split, its filter" in problem.message


def test_a_sampler_of_fewer_records_than_the_source_has_is_a_warning():
    sampler = feedrace.create("sampler", "sequential", num_records=4)
    expected = r"^sampler.num_records: 4 of the 6 records .* \(stop = 4\)"
    with pytest.warns(DataWarning, match=expected):
        pipeline = Pipeline(source=DATA, sampler=sampler, batch_size=4)
    assert [batch["label"].tolist() for batch in pipeline] == [[0, 1, 2, 3]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline(source=DATA, sampler={"use": "sequential"}, batch_size=4)


@pytest.mark.together
def test_a_part_that_was_asked_for_is_no_warning():
    pytest.importorskip("feedrace_samplers")
    sampler = feedrace.create("sampler", "range", stop=4, num_records=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (batch,) = Pipeline(source=DATA, sampler=sampler, batch_size=4)
    assert batch["label"].tolist() == [0, 1, 2, 3]
