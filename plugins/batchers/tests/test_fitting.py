import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace_batchers.fitting import _scan, fit


@given(
    lengths=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 20)), min_size=1, max_size=40),
    best=st.booleans(),
    fields=st.integers(1, 2),
    most=st.sampled_from([None, 1, 2, 3]),
)
def test_every_row_has_room_and_rows_are_numbered_by_their_longest(lengths, best, fields, most):
    lengths = np.array(lengths).T[:fields]
    capacities = np.array([10, 20][:fields])
    rows = fit(lengths, capacities, best=best, max_segments=most)
    assert sorted(set(rows.tolist())) == list(range(rows.max() + 1))
    openers = []
    for row in range(rows.max() + 1):
        inside = np.flatnonzero(rows == row)
        assert (lengths[:, inside].sum(axis=1) <= capacities).all()
        assert most is None or len(inside) <= most
        share = (lengths[:, inside] / capacities[:, None]).max(axis=0)
        openers.append(inside[share.argmax()])
    assert openers == sorted(openers)
    if most is None:  # no two rows could be one
        sums = np.array([lengths[:, rows == row].sum(axis=1) for row in range(rows.max() + 1)])
        for i in range(len(sums)):
            for other in range(i):
                assert (sums[i] + sums[other] > capacities).any()


@given(
    lengths=st.lists(st.integers(0, 10), min_size=1, max_size=60),
    best=st.booleans(),
    most=st.sampled_from([None, 1, 2, 5]),
    fields=st.integers(1, 3),
)
def test_the_quick_ways_are_looking_at_all_rows(lengths, best, most, fields):
    """Of fields that never run out before the first, only the first has a say."""
    table, capacities = np.array([lengths, lengths, lengths])[:fields], np.array([10, 10, 12])
    table[1:] = np.maximum(table[1:] - 1, 0)
    order = np.argsort(-table[0], kind="stable").tolist()
    rows, openers = _scan(table[:1], capacities[:1], order, best, most)
    numbers = np.argsort(np.argsort(openers))
    found = fit(table, capacities[:fields], best=best, max_segments=most)
    assert found.tolist() == numbers[rows].tolist()


@pytest.mark.parametrize(("best", "rows"), [(False, [0, 1, 1, 0]), (True, [0, 1, 1, 1])])
def test_first_fit_takes_the_first_row_and_best_fit_the_fullest(best, rows):
    assert fit(np.array([[14, 11, 7, 2]]), [20], best=best).tolist() == rows
