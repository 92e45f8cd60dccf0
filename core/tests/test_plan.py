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
