import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace import create
from feedrace.errors import ConfigError, DataError
from feedrace.plan.steps import plan_stream


def plan(records, size, *, epochs=1, drop=False):
    sampler = create("sampler", "sequential", num_records=records, num_epochs=epochs)
    return plan_stream("train", sampler, batch_size=size, drop_remainder=drop)


@given(records=st.integers(1, 60), size=st.integers(1, 20), drop=st.booleans())
def test_batches_cover_each_epoch_and_cross_none(records, size, drop):
    if drop and size > records:
        return
    made = plan(records, size, drop=drop)
    per_epoch = made.batches_per_epoch
    for epoch in range(3):
        spans = [made.positions(epoch * per_epoch + b) for b in range(per_epoch)]
        covered = np.concatenate([np.arange(*span) for span in spans])
        count = records - records % size if drop else records
        assert (covered == epoch * records + np.arange(count)).all()
        assert all(stop - start == size for start, stop in spans[:-1])
    for batch in range(3 * per_epoch):
        spans = [made.positions(b) for b in range(batch)]
        assert made.samples(batch) == sum(stop - start for start, stop in spans)
        assert made.ends_epoch(made.positions(batch)[0]) == ((batch + 1) % per_epoch == 0)


def test_a_pass_is_all_epochs_of_the_sampler():
    assert plan(10, 4, epochs=3).batches_per_pass == 9
    assert plan(10, 4, epochs=-1).batches_per_pass is None


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_a_batch_size_that_is_no_positive_int_is_refused(size):
    with pytest.raises(ConfigError, match="batch_size"):
        plan(10, size)


def test_a_plan_that_leaves_no_batch_is_refused():
    with pytest.raises(ConfigError, match="12 leaves no batch of the 10 records"):
        plan(10, 12, drop=True)


def test_an_empty_stream_is_refused():
    with pytest.raises(DataError, match="'train' has no records"):
        plan_stream("train", [], batch_size=2, drop_remainder=False)


def test_an_endless_sampler_without_epochs_is_refused():
    class Endless:
        def indices(self, start, stop):
            return np.arange(start, stop)

    with pytest.raises(DataError, match="neither a length nor records_per_epoch"):
        plan_stream("train", Endless(), batch_size=2, drop_remainder=False)


class Sampler:
    def __init__(self, length, records_per_epoch):
        self.length, self.records_per_epoch = length, records_per_epoch

    def __len__(self):
        return self.length

    def indices(self, start, stop):
        return np.arange(start, stop) % self.records_per_epoch


@pytest.mark.parametrize(
    ("length", "per_epoch", "message"),
    [
        (25, 10, "'train' has len 25 and records_per_epoch 10, .* make its len 20 or 30"),
        (5, 10, "'train' has len 5 and records_per_epoch 10, .* make its len 10, or .* 5"),
        (0, 10, "'train' has no records"),
        (5, 0, "'train' has no records"),
    ],
)
def test_a_length_that_is_not_whole_epochs_is_refused(length, per_epoch, message):
    with pytest.raises(DataError, match=message):
        plan_stream("train", Sampler(length, per_epoch), batch_size=2, drop_remainder=False)


def test_a_length_of_whole_epochs_serves_them_all():
    made = plan_stream("train", Sampler(30, 10), batch_size=4, drop_remainder=False)
    steps = list(made.batches(0, made.batches_per_pass))
    assert np.concatenate([indices for *_, indices in steps]).tolist() == [*range(10)] * 3


def test_a_step_shows_itself_in_one_line_without_the_contents_of_its_batch():
    plan = plan_stream("train", Sampler(5000, 5000), batch_size=4096, drop_remainder=False)
    step = next(plan.train_steps(0, 1, lambda update: {"update": update}))
    shown = repr(step)
    assert "indices=4096 records" in shown
    assert shown.endswith("batch=None)")
    step.batch = {"x": np.zeros((4096, 2), np.float32), "text": ["a"] * 4096}
    assert repr(step).endswith("batch={x: float32[4096, 2], text})")
    assert "\n" not in repr(step)
