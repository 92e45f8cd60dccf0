"""Stages on the host, for what JAX cannot do."""

import jax
import numpy as np
import pytest
from flax import nnx

from feedrace import Pipeline, create
from feedrace.errors import ConfigError, DataError

DATA = {"x": np.arange(10), "name": [f"n{i}" for i in range(10)]}


class Length:
    """The length of each name, in place of the name."""

    on = "host"

    def __call__(self, batch):
        names = batch.pop("name")
        lengths = np.array([0 if n is None else len(n) for n in names], np.int32)
        return {**batch, "length": lengths}

    def spec(self, batch_spec):
        rest = {k: v for k, v in batch_spec.items() if k != "name"}
        return {**rest, "length": jax.ShapeDtypeStruct(batch_spec["x"].shape, np.dtype(np.int32))}


class Draw:
    """A number drawn on the host with each record's key."""

    on, stochastic = "host", True

    def __call__(self, batch, keys):
        assert keys.dtype == np.uint32
        assert keys.shape == (len(batch["x"]), 2)
        return {**batch, "x": batch["x"] + (keys[:, 0] % 1000).astype(np.int32)}


def make(stages, **options):
    source = create("source", "memory", data=DATA, shuffle=True)
    options.setdefault("batch_size", 4)
    return Pipeline(source=source, stages=stages, rngs=nnx.Rngs(1), **options)


def test_a_host_stage_sees_strings_and_what_it_makes_arrives_as_its_spec_says():
    pipeline = make([Length(), create("stage", "cast", field="length", dtype="float32")])
    for batch in pipeline:
        assert isinstance(batch["length"], jax.Array)
        spec = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in batch.items()}
        assert spec == pipeline.batch_spec()
        assert batch["length"].tolist() == [2.0 * valid for valid in batch["valid_mask"]]


def test_a_stochastic_host_stage_draws_alike_whatever_the_batch_size():
    drawn = []
    for size in (3, 4):
        seen = {}
        for step in make([Draw()], batch_size=size).steps():
            valid = np.asarray(step.batch["valid_mask"])
            seen |= dict(
                zip(step.indices.tolist(), np.asarray(step.batch["x"])[valid], strict=True)
            )
        drawn.append(seen)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0].values())) > 5


def noise(batch, keys):
    return {**batch, "noise": jax.vmap(jax.random.uniform)(keys)}


noise.stochastic = True


def test_keys_of_device_stages_do_not_depend_on_host_stages_without_keys():
    drawn = [np.concatenate([b["noise"] for b in make(s)]) for s in ([noise], [Length(), noise])]
    assert np.array_equal(*drawn)
    other = np.concatenate([batch["noise"] for batch in make([Draw(), noise])])
    assert not np.isin(other, drawn[0]).any()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([lambda b: b, Length()], r"stages\[1\]: .*Length is on the host, behind a stage on the"),
        ([type("Odd", (), {"on": "gpu", "__call__": lambda s, b: b})()], "is on 'gpu'; a stage is"),
    ],
)
def test_a_stage_at_a_wrong_place_is_refused(stages, message):
    with pytest.raises(ConfigError, match=message):
        make(stages)


def on_host(function):
    function.on = "host"
    return function


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (on_host(lambda b: {**b, "x": b["x"] * 0.5}), r"returned name: object\[4\], .*x: float64"),
        (on_host(lambda b: {**b, "x": b["x"][:2]}), "every field needs the leading axis 4"),
        (on_host(lambda b: None), "returned NoneType"),
    ],
)
def test_a_host_stage_that_returns_something_else_is_named(stage, message, prefetch):
    with pytest.raises(DataError, match=message) as caught:
        list(make([stage], prefetch=prefetch))
    assert "update 1, records [" in "".join(caught.value.__notes__)
