import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedrace.errors import ConfigError
from feedrace_batchers import choose_boundaries


def padded(lengths, boundaries):
    return sum(min(b for b in boundaries if b >= max(length, 1)) for length in lengths)


@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=12), buckets=st.integers(1, 5))
def test_no_other_boundaries_pad_less(lengths, buckets):
    chosen = choose_boundaries(lengths, buckets)
    distinct = sorted({max(length, 1) for length in lengths})
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == distinct[-1]
    assert len(chosen) == min(buckets, len(distinct))
    inner = itertools.combinations(distinct[:-1], len(chosen) - 1)
    best = min(padded(lengths, (*some, distinct[-1])) for some in inner)
    assert padded(lengths, chosen) == best


@given(seed=st.integers(0, 2**32 - 1), buckets=st.integers(2, 8))
def test_it_is_the_plain_dynamic_program_on_long_tails(seed, buckets):
    lengths = np.random.default_rng(seed).lognormal(4, 1, 300).astype(int) + 1
    values, counts = np.unique(lengths, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    costs = np.concatenate([[0], values * before[1:]])
    for _ in range(buckets - 1):
        costs = np.array(
            [0]
            + [
                min(costs[i] + values[j - 1] * (before[j] - before[i]) for i in range(j))
                for j in range(1, len(values) + 1)
            ]
        )
    assert padded(lengths.tolist(), choose_boundaries(lengths, buckets)) == costs[-1]


@pytest.mark.parametrize("lengths", [[], [1.5], [[1]], [[1], [1, 2]], [-1], "abc"])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ConfigError, match="lengths"):
        choose_boundaries(lengths, 2)


def test_a_number_of_buckets_below_1_is_refused():
    with pytest.raises(ConfigError, match="num_buckets: 0 is not"):
        choose_boundaries([1], 0)
