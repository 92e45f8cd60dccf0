"""Batchers that group by what is in the records, a window of them at a time."""

import json

import numpy as np
import pytest

import penstock
from penstock import ConfigError, StateError, specs


class BySize:
    """Rows of short and of long records, padded to 2 and to 8, in windows of three batches."""

    def window_size(self, batch_size):
        return 3 * batch_size

    def collate_window(self, records, *, batch_size):
        lengths = np.array([len(x) for x in records["x"]])
        for bound, chosen in ((2, lengths <= 2), (8, lengths > 2)):
            rows = np.flatnonzero(chosen)
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                x = np.zeros((len(part), bound), np.int32)
                for i, row in enumerate(part):
                    x[i, : lengths[row]] = records["x"][row]
                kept = {"x": x, "id": np.asarray(records["id"])[part]}
                yield specs.pad_batch(kept, batch_size=batch_size), part

    def process(self, elements, *, batch_size, drop_remainder=False):
        raise NotImplementedError

    def batch_spec(self, element_spec, *, batch_size):
        raise NotImplementedError


def make(n=23, batch_size=2, **options):
    generator = np.random.default_rng(0)
    data = {
        "x": [generator.integers(1, 9, generator.integers(0, 9)) for _ in range(n)],
        "id": np.arange(n),
    }
    source = penstock.create("source", "memory", data=data, shuffle=True)
    return penstock.Pipeline(source=source, batch_size=batch_size, batcher=BySize(), **options)


def shown(step):
    batch = {name: np.asarray(value).tolist() for name, value in step.batch.items()}
    return (step.sample, step.first, step.last, step.indices.tolist(), batch)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_pass_serves_every_record_once_in_batches_of_few_shapes(prefetch):
    pipeline = make(prefetch=prefetch)
    for _ in range(2):
        steps = list(pipeline.steps())
        assert sorted(np.concatenate([step.indices for step in steps])) == list(range(23))
        for step in steps:
            ids = np.asarray(step.batch["id"])[np.asarray(step.batch["valid_mask"])]
            assert ids.tolist() == step.indices.tolist()
            assert step.batch["x"].shape in ((2, 2), (2, 8))
        assert [step.first for step in steps] == [True] + [False] * (len(steps) - 1)
        assert [step.last for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].sample == 46


@pytest.mark.parametrize("prefetch", [0, 2])
def test_state_at_every_batch_of_a_window_continues_exactly(prefetch):
    steps = list(make(prefetch=prefetch).steps())
    whole = [shown(step) for step in steps]
    for stop in range(1, len(whole)):
        pipeline = make(prefetch=prefetch)
        with pipeline.steps() as begun:
            for _ in range(stop):
                next(begun)
        state = json.loads(json.dumps(pipeline.get_state()))
        other = make(prefetch=prefetch)
        other.set_state(state)
        assert [shown(step) for step in other.steps()] == whole[stop:]
        assert [shown(step) for step in pipeline.steps()] == whole[stop:]


def test_one_window_at_most_is_read_again():
    pipeline = make()
    steps = list(pipeline.steps())
    fetched = []
    other = make(prefetch=0)
    source_fetch = other.components()["source"][1].fetch
    other.components()["source"][1].fetch = lambda indices: (
        fetched.append(len(indices)) or source_fetch(indices)
    )
    pipeline.reset()
    with pipeline.steps() as begun:
        for _ in range(len(steps) - 1):
            next(begun)
    other.set_state(pipeline.get_state())
    assert len(list(other.steps())) == 1
    assert sum(fetched) <= 6


def test_a_record_of_a_window_is_augmented_alike_wherever_it_lands():
    class Noise:
        stochastic = True

        def __call__(self, batch, keys):
            import jax

            drawn = jax.vmap(lambda key: jax.random.bits(key, dtype="uint32"))(keys)
            return {**batch, "noise": drawn}

    from flax import nnx

    seen = []
    for batch_size in (2, 3):
        noise = {}
        for batch in make(batch_size=batch_size, stages=[Noise()], rngs=nnx.Rngs(3)):
            for number, drawn, valid in zip(
                batch["id"].tolist(), batch["noise"].tolist(), batch["valid_mask"], strict=True
            ):
                if valid:
                    noise[number] = drawn
        seen.append(noise)
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 23


def test_dropping_the_remainder_is_refused():
    with pytest.raises(ConfigError, match="drop_remainder: batcher BySize pads the short batches"):
        make(drop_remainder=True)


def test_a_place_in_a_window_that_is_none_is_refused():
    pipeline = make()
    state = pipeline.get_state()
    state["counters"] = {"pass": 0, "inside": 99}
    pipeline.set_state(state)
    with pytest.raises(StateError, match="after batch 99 of a window of stream 'train' that has"):
        list(pipeline)
    plain = penstock.Pipeline(
        source=penstock.create("source", "memory", data={"x": np.arange(4)}), batch_size=2
    )
    state = plain.get_state()
    state["counters"] = {"pass": 0, "inside": 1}
    with pytest.raises(StateError, match="there is none"):
        plain.set_state(state)
