"""Sources that leave out records which they cannot read."""

import jax
import numpy as np
import pytest

import feedrace
from feedrace.device import specs
from feedrace.host.records import pad_batch

BAD = {3, 4, 10}


class Leaky:
    """A source of numbers, of which some cannot be read."""

    def __len__(self):
        return 12

    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((), np.int32)}

    def fetch(self, indices):
        return {"x": np.where(self.invalid_rows(indices), 0, indices + 100).astype(np.int32)}

    def invalid_rows(self, indices):
        return np.isin(indices, list(BAD))


class Stacking:
    """A batcher that asks for elements, one by one."""

    def process(self, elements, *, batch_size, drop_remainder=False):
        yield pad_batch({"x": np.array([e["x"] for e in elements])}, batch_size=batch_size)

    def batch_spec(self, element_spec, *, batch_size):
        return specs.batch_spec(element_spec, batch_size=batch_size)


class Windowed(Stacking):
    """A batcher that gives each window's records backwards."""

    def window_size(self, batch_size):
        return 2 * batch_size

    def collate_window(self, records, *, batch_size):
        rows = np.arange(len(records["x"]))[::-1]
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            yield pad_batch({"x": records["x"][part]}, batch_size=batch_size), part


@pytest.mark.parametrize("batcher", [None, Stacking(), Windowed()])
def test_records_that_a_source_leaves_out_are_no_valid_rows(batcher):
    pipeline = feedrace.Pipeline(source=Leaky(), batch_size=4, batcher=batcher)
    seen = []
    for step in pipeline.steps():
        mask = np.asarray(step.batch["valid_mask"])
        assert mask.shape == step.batch["x"].shape == (4,)
        seen += np.asarray(step.batch["x"])[mask].tolist()
        if isinstance(batcher, Windowed):
            assert step.indices.tolist() == [x - 100 for x in seen[-mask.sum() :]]
    assert sorted(seen) == [100 + i for i in range(12) if i not in BAD]
    assert pipeline.plans["train"].records_per_epoch == 12


def test_the_rows_of_the_others_stay_where_they_are():
    batches = list(feedrace.Pipeline(source=Leaky(), batch_size=6))
    assert np.asarray(batches[0]["valid_mask"]).tolist() == [True, True, True, False, False, True]
    assert np.asarray(batches[0]["x"])[5] == 105


def test_a_window_without_a_valid_record_makes_one_batch_of_padding():
    class Gone(Leaky):
        def invalid_rows(self, indices):
            return np.asarray(indices) // 4 != 1

    pipeline = feedrace.Pipeline(source=Gone(), batch_size=2, batcher=Windowed())
    assert Windowed().window_size(2) == 4
    updates = []
    for _ in range(2):
        steps = list(pipeline.steps())
        assert [step.indices.tolist() for step in steps] == [[], [7, 6], [5, 4], []]
        assert [step.batch["valid_mask"].tolist() for step in steps] == [
            [False] * 2, [True] * 2, [True] * 2, [False] * 2
        ]  # fmt: skip
        updates += [step.update for step in steps]
        assert [step.first for step in steps] == [True, False, False, False]
        assert [step.last for step in steps] == [False, False, False, True]
    assert updates == list(range(1, 9))  # that of padding is one


def test_a_batcher_that_makes_no_batch_of_good_records_is_refused():
    class Nothing(Windowed):
        def collate_window(self, records, *, batch_size):
            return iter(())

    pipeline = feedrace.Pipeline(source=Leaky(), batch_size=2, batcher=Nothing())
    with pytest.raises(feedrace.errors.DataError, match="Nothing made no batch of 3 records"):
        list(pipeline)


class Choosy(Leaky):
    """Its reader tolerates what a stage refuses; it notes which records that were."""

    def __init__(self, instead):
        self.instead, self.notes = instead, []

    def reader(self):
        return ChoosyReader(self.instead)

    def note(self, noted):
        self.notes += noted


class ChoosyReader(Leaky):
    def __init__(self, instead):
        self.instead, self.found = instead, []

    def noted(self):
        found, self.found = self.found, []
        return found

    def tolerate(self, number, error, make):
        if self.instead is None:
            error.add_note("no record may be bad")
            raise error
        self.found = [(number, str(error))]
        for other in self.instead:
            made = make({"x": np.array([other + 100], np.int32)})
            if not isinstance(made, feedrace.errors.DataError):
                return made
        return None


def _refusing(record):
    if record["x"] in (105, 106):
        raise feedrace.errors.DataError("too odd")
    if record["x"] == 107:
        raise feedrace.errors.StorageError("the store is gone")
    return record


@pytest.mark.parametrize(
    ("instead", "x"), [([], [0, 0, 0, 0, 0, 0]), ([6, 8], [0, 0, 0, 0, 0, 108])]
)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:sampler.num_records")
def test_a_reader_decides_on_records_that_a_stage_refuses(instead, x, workers):
    source = Choosy(instead)
    stages = [feedrace.record(_refusing)]
    sampler = {"use": "sequential", "num_records": 6}
    made = {"source": source, "stages": stages, "sampler": sampler, "batch_size": 6}
    (batch,) = feedrace.Pipeline(**made, workers=workers)
    assert np.asarray(batch["valid_mask"]).tolist() == [True] * 3 + [False] * 2 + [bool(instead)]
    assert np.asarray(batch["x"]).tolist() == [100, 101, 102, *x[3:]]
    assert source.notes == [(5, "too odd")]


@pytest.mark.parametrize(("instead", "message"), [(None, "too odd"), ([7], "the store is gone")])
def test_what_a_reader_does_not_tolerate_is_raised(instead, message):
    stages = [feedrace.record(_refusing)]
    pipeline = feedrace.Pipeline(source=Choosy(instead), stages=stages, batch_size=6)
    with pytest.raises(feedrace.errors.DataError, match=message) as caught:
        next(iter(pipeline))
    assert instead or "no record may be bad" in caught.value.__notes__
