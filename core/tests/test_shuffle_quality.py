"""The shuffle against a uniformly random permutation, in statistics a reader would try.

Each statistic's mean and variance over random permutations are known; over M independent keys the
mean of M values lies within z standard errors of it. Bounds are z = 4.5, which an ideal shuffle
misses with probability 7e-6 a statistic; chi-squares are bounded by their normal approximation at
the same z. The keys are fixed, so that the outcome is, too.
"""

import numpy as np
import pytest

from feedrace.plan.order import Order

pytestmark = pytest.mark.slow

Z = 4.5
KEYS = {1000: 1000, 65_536: 60}


@pytest.fixture(scope="module", params=sorted(KEYS))
def orders(request):
    n = request.param
    by_seed = [Order(n, seed).indices(0, n) for seed in range(KEYS[n] // 2)]
    by_epoch = [Order(n, 7).indices(e * n, (e + 1) * n) for e in range(KEYS[n] // 2)]
    return np.stack(by_seed + by_epoch)


def assert_mean(values, mean, variance):
    error = np.sqrt(variance / len(values))
    assert abs(np.mean(values) - mean) < Z * error, (np.mean(values), mean, error)


def test_position_and_index_are_uncorrelated(orders):
    n = orders.shape[1]
    positions = np.arange(n)
    values = [np.corrcoef(order, positions)[0, 1] for order in orders]
    assert_mean(values, 0, 1 / (n - 1))
    # The squares say whether the correlations are as small as they should be, each for itself.
    assert_mean(np.square(values), 1 / (n - 1), 2 / (n - 1) ** 2)


def test_neighbours_differ_as_much_as_they_should(orders):
    n = orders.shape[1]
    values = np.abs(np.diff(orders, axis=1)).mean(axis=1)
    # |i - j| of two distinct numbers has mean (n + 1) / 3 and variance (n + 1)(n - 2) / 18; the
    # differences of one permutation are all but uncorrelated, and twice the variance is generous.
    assert_mean(values, (n + 1) / 3, 2 * (n + 1) * (n - 2) / 18 / (n - 1))


def test_fixed_points_are_as_many_as_they_should_be(orders):
    values = (orders == np.arange(orders.shape[1])).sum(axis=1)
    assert_mean(values, 1, 1)


def test_successors_are_as_many_as_they_should_be(orders):
    n = orders.shape[1]
    assert_mean((np.diff(orders, axis=1) == 1).sum(axis=1), (n - 1) / n, 1)


def test_ascents_are_as_many_as_they_should_be(orders):
    n = orders.shape[1]
    assert_mean((np.diff(orders, axis=1) > 0).sum(axis=1), (n - 1) / 2, (n + 1) / 12)


def test_inversions_are_as_many_as_they_should_be(orders):
    n = min(orders.shape[1], 4096)  # the order among the first few is that of a permutation too
    values = [inversions(order[:n]) for order in orders[:400]]
    assert_mean(values, n * (n - 1) / 4, n * (n - 1) * (2 * n + 5) / 72)


def inversions(order):
    """Count pairs that are out of order, by merging."""
    count, width = 0, 1
    values = order.copy()
    while width < len(values):
        for start in range(0, len(values), 2 * width):
            left = values[start : start + width]
            right = values[start + width : start + 2 * width]
            count += int((len(left) - np.searchsorted(left, right)).sum())
            values[start : start + 2 * width] = np.sort(values[start : start + 2 * width])
        width *= 2
    return count


@pytest.mark.parametrize("position", [0, 1, 499, 999])
def test_every_index_is_as_likely_at_a_position(position):
    n, seeds = 1000, 20_000
    drawn = [int(Order(n, seed).indices(position, position + 1)[0]) for seed in range(seeds)]
    expected = seeds / n
    chi = ((np.bincount(drawn, minlength=n) - expected) ** 2 / expected).sum()
    freedom = n - 1
    assert abs(chi - freedom) < Z * np.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_every_permutation_of_a_few_is_as_likely(n):
    from collections import Counter
    from math import factorial

    seeds = 20 * factorial(n) + 2000
    seen = Counter(tuple(Order(n, seed).indices(0, n)) for seed in range(seeds))
    expected, freedom = seeds / factorial(n), factorial(n) - 1
    chi = sum((count - expected) ** 2 / expected for count in seen.values())
    chi += (factorial(n) - len(seen)) * expected
    assert abs(chi - freedom) < Z * np.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [2, 3, 5, 9, 10, 12, 20, 36, 100, 1000])
def test_odd_permutations_are_as_likely_as_even_ones(n):
    orders = [Order(n, seed).indices(e * n, e * n + n) for seed in range(20) for e in range(20)]
    odd = sum(inversions(order) % 2 for order in orders)
    assert abs(odd - len(orders) / 2) < Z * np.sqrt(len(orders)) / 2
