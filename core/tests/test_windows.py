"""Batchers that group by what is in the records, a window of them at a time."""

import json

import numpy as np
import pytest

import feedrace
from feedrace.errors import ConfigError, StateError
from feedrace.host.records import pad_batch


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
                yield pad_batch(kept, batch_size=batch_size), part

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
    source = feedrace.create("source", "memory", data=data, shuffle=True)
    return feedrace.Pipeline(source=source, batch_size=batch_size, batcher=BySize(), **options)


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
    plain = feedrace.Pipeline(
        source=feedrace.create("source", "memory", data={"x": np.arange(4)}), batch_size=2
    )
    state = plain.get_state()
    state["counters"] = {"pass": 0, "inside": 1}
    with pytest.raises(StateError, match="there is none"):
        plain.set_state(state)


class Pieces(BySize):
    """Rows of two entries of a record each, the pieces of one record in as many rows."""

    gives_keys = False

    def collate_window(self, records, *, batch_size):
        pieces = [
            (row, piece)
            for row, x in enumerate(records["x"])
            for piece in range(max(1, -(-len(x) // 2)))
        ]
        for start in range(0, len(pieces), batch_size):
            part = pieces[start : start + batch_size]
            rows = np.array([row for row, piece in part if piece == 0], np.int64)
            ids = np.array([row for row, _ in part])
            batch = pad_batch({"id": ids}, batch_size=batch_size)
            keys = [row + piece * len(records["x"]) for row, piece in part]
            keys += [0] * (batch_size - len(part))
            yield (batch, rows, np.array(keys)) if self.gives_keys else (batch, rows)


class KeyedPieces(Pieces):
    gives_keys = True


@pytest.mark.parametrize("batcher", [Pieces(), KeyedPieces(), BySize()])
def test_all_rows_of_an_epoch_have_keys_of_their_own(batcher):
    import jax
    from flax import nnx

    def draw(batch, keys):
        return {"valid_mask": batch["valid_mask"], "bits": jax.vmap(jax.random.bits)(keys)}

    draw.stochastic = True
    source = make().components()["source"][1]
    pipeline = feedrace.Pipeline(
        source=source, batch_size=2, batcher=batcher, stages=[draw], rngs=nnx.Rngs(0)
    )
    drawn = [
        bits
        for batch in pipeline
        for bits, valid in zip(batch["bits"].tolist(), batch["valid_mask"], strict=True)
        if valid
    ]
    assert len(drawn) >= 23
    assert len(set(drawn)) == len(drawn)


def test_a_record_that_a_batcher_cannot_take_is_named():
    class Picky(BySize):
        def collate_window(self, records, *, batch_size):
            raise feedrace.errors.RecordError(3, "is too much")
            yield

    source = make().components()["source"][1]
    pipeline = feedrace.Pipeline(source=source, batch_size=2, batcher=Picky())
    third = next(iter(make().plans["train"].batches(0, 1)))[2][3]
    with pytest.raises(feedrace.errors.DataError) as caught:
        list(pipeline)
    assert f"record 3 of the window is record {third}" in caught.value.__notes__
