"""Does the sample obey the laws it promises: weights, half-life, unbiasedness, and survive extreme numbers?

Seeds are fixed and chi-square limits are the 1 - 1e-4 quantiles, so a failure is a change of the algorithm.
"""

import math
from itertools import permutations

import numpy as np
import pytest

from data_ops.kernels.hashing import exact_log, hash_ids, key_of, log_exponential
from data_ops.kernels.id_sets import is_member
from data_ops.kernels.mixing import mix64
from data_ops.sampling.reservoir import Reservoir
from data_ops.sampling.saturation import effective_half_life, inclusion_probability, saturation, saturation_warning

LN2 = math.log(2)


def sequential_ids(n):
    return np.stack([np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64)], 1)


def random_ids(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (n, 2), dtype=np.uint64)


@pytest.mark.slow
def test_every_subset_of_three_of_seven_is_as_likely_as_successive_sampling_makes_it():
    weights, k, trials = np.array([1, 2, 3, 4, 5, 8, 16.0]), 3, 200_000
    chance = {}
    for order in permutations(range(7), k):
        p, left = 1.0, weights.sum()
        for i in order:
            p, left = p * weights[i] / left, left - weights[i]
        chance[frozenset(order)] = chance.get(frozenset(order), 0.0) + p
    ids = sequential_ids(7 * trials)  # every trial has seven ids of its own
    keys = key_of(ids, np.zeros(7 * trials), np.tile(weights, trials), None, 11).reshape(trials, 7)
    code = (1 << np.argsort(keys, axis=1)[:, :k]).sum(axis=1)
    seen = np.bincount(code, minlength=128)
    chi2 = sum((seen[sum(1 << i for i in s)] - p * trials) ** 2 / (p * trials) for s, p in chance.items())
    assert len(chance) == 35 and chi2 < 73.5  # 34 degrees of freedom


def test_the_reservoir_draws_in_proportion_to_weight_times_decay():
    ids, n = random_ids(200_000, 1), 200_000
    r = np.random.default_rng(2)
    times_s, weights = r.uniform(0, 4e6, n), r.choice([0.5, 1.0, 4.0], n)
    made = Reservoir(2000, 1e6, 4)
    made.add(ids, times_s, weights)
    chance = -np.expm1(-np.exp(made.threshold(2000) + LN2 / 1e6 * times_s) * weights)
    inside = is_member(ids, made.sample(2000))
    for weight in (0.5, 1.0, 4.0):
        for low in range(0, 4_000_000, 1_000_000):
            group = (weights == weight) & (times_s >= low) & (times_s < low + 1e6)
            expected, spread = chance[group].sum(), math.sqrt((chance[group] * (1 - chance[group])).sum())
            assert abs(inside[group].sum() - expected) < 4.5 * spread
    assert abs((1 / chance[inside]).sum() / n - 1) < 0.15  # Horvitz-Thompson counts the corpus; CV bound 1/sqrt(1998 q)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [500, 5000, 100_000])
def test_ages_follow_the_closed_form_of_the_half_life_saturated_or_not(capacity):
    n, years_s, half_life = 1_000_000, 3650 * 86400.0, 70 * 86400.0
    times_s = (np.arange(n) + 0.5) * (years_s / n)
    made = Reservoir(capacity, half_life, 5)
    made.add(random_ids(n, 3), times_s, np.ones(n))
    ages = years_s - times_s[is_member(random_ids(n, 3), made.sample(capacity))]
    edges = np.append(np.arange(6) * half_life, years_s)
    seen = np.histogram(ages, bins=edges)[0]
    grid = np.linspace(0, years_s, 1001)
    chance = [inclusion_probability(age, capacity, half_life, n / years_s) for age in grid]
    fine = (np.arange(200_000) + 0.5) * (years_s / 200_000)
    expected = 5 * np.histogram(fine, bins=edges, weights=np.exp(np.interp(fine, grid, np.log(chance))))[0]
    assert abs(expected.sum() / capacity - 1) < 0.01
    assert ((seen - expected) ** 2 / expected).sum() < 25.8  # 5 degrees of freedom


def test_the_effective_half_life_is_the_asked_one_when_unsaturated_and_longer_when_not():
    assert effective_half_life(80, 1000.0, 100.0) == pytest.approx(1000.0, rel=0.01)
    assert effective_half_life(10, None, 1.0) == math.inf
    longer = [effective_half_life(k, 1000.0, 100.0) for k in (10, 10**4, 10**5, 10**6, 10**7)]
    assert longer == sorted(longer) and longer[-1] > 10 * longer[0]
    for capacity in (10, 10**5, 10**6):
        age = effective_half_life(capacity, 1000.0, 100.0)
        now = inclusion_probability(0.0, capacity, 1000.0, 100.0)
        assert inclusion_probability(age, capacity, 1000.0, 100.0) == pytest.approx(now / 2)
    assert Reservoir(10**5, 1000.0).effective_half_life(100.0) == effective_half_life(10**5, 1000.0, 100.0)


def test_a_saturated_reservoir_is_warned_of_with_the_capacity_that_would_do():
    assert saturation_warning(10, 1000.0, 100.0) is None and saturation_warning(10**9, None, 1.0) is None
    text = saturation_warning(10**6, 1000.0, 100.0)
    capacity = int(text.split("reservoir.capacity to ")[1].split()[0])
    assert "1000000 documents" in text and saturation(capacity, 1000.0, 100.0) <= 0.08 < saturation(
        capacity + 2, 1000.0, 100.0
    )
    assert saturation_warning(capacity, 1000.0, 100.0) is None
    with pytest.raises(ValueError, match="arrivals_per_s=0"):
        saturation(10, 1000.0, 0)


def test_a_one_second_half_life_over_ten_years_keeps_the_newest():
    n = 20_000
    times_s = 1.4e9 + np.arange(n) * (10 * 365.25 * 86400 / n)
    made = Reservoir(100, 1.0)
    ids = sequential_ids(n)
    for i in np.array_split(np.random.default_rng(0).permutation(n), 9):
        made.add(ids[i], times_s[i], np.ones(len(i)))
    assert made.sample(100)[:, 1].tolist() == list(range(n - 1, n - 101, -1))


def test_weights_fifty_orders_of_magnitude_apart_are_ordered():
    n = 30_000
    weights = np.where(np.arange(n) % 1000 == 0, 1e25, 1e-25)
    made = Reservoir(40, None)
    made.add(sequential_ids(n), np.full(n, 1.7e9), weights)
    assert set((made.sample(30)[:, 1] % np.uint64(1000)).tolist()) == {0}
    assert len(made.sample(40)) == 40


def test_the_smallest_and_largest_floats_are_weights():
    n = 5000
    weights = np.resize([5e-324, 1e-300, 1.7e308], n)
    for half_life, time in ((None, 0.0), (1.0, 1.7e9), (1.0, -1.7e9)):
        made = Reservoir(20, half_life)
        made.add(sequential_ids(n), np.full(n, time), weights)
        assert set((made.sample(20)[:, 1] % np.uint64(3)).tolist()) == {2}


def test_keys_that_tie_at_the_horizon_are_dropped_the_same_way_in_any_order():
    """At 2^49 half-lives from 1970 keys are 1/8 apart, so that ties abound."""
    n, far = 4000, 2.0**49 / LN2
    ids = random_ids(n, 7)
    states = []
    for seed in range(5):
        made = Reservoir(300, 1.0)
        for i in np.array_split(np.random.default_rng(seed).permutation(n), 1 + seed):
            made.add(ids[i], np.full(len(i), far), np.ones(len(i)))
        states.append(made.state_dict())
    assert len(np.unique(states[0]["keys"])) < 100 and states[0]["horizon"] not in states[0]["keys"]
    for state in states[1:]:
        np.testing.assert_array_equal(state["ids"], states[0]["ids"])
        assert state["horizon"] == states[0]["horizon"]


def test_a_republished_document_counts_with_its_best_time_and_weight_once():
    ids = sequential_ids(2000)
    twice = Reservoir(50, 1e6)
    twice.add(ids, np.zeros(2000), np.ones(2000))
    twice.add(ids[:100], np.full(100, 5e6), np.full(100, 2.0))
    once = Reservoir(50, 1e6)
    once.add(ids, np.where(np.arange(2000) < 100, 5e6, 0.0), np.where(np.arange(2000) < 100, 2.0, 1.0))
    assert twice.fingerprint() == once.fingerprint()


@pytest.mark.parametrize("column", [0, 1])
def test_hashes_of_sequential_ids_fill_buckets_evenly_from_either_end(column):
    n = 1 << 20
    ids = np.zeros((n, 2), np.uint64)
    ids[:, column] = np.arange(n)
    for shift in (48, 24, 0):
        buckets = np.bincount(((hash_ids(ids, 1) >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(int), minlength=65536)
        chi2 = ((buckets - n / 65536) ** 2 / (n / 65536)).sum()
        assert abs(chi2 - 65535) < 4 * math.sqrt(2 * 65535)


def test_hashes_under_neighbouring_seeds_are_uncorrelated_and_one_bit_changes_half():
    n = 200_000
    ids = sequential_ids(n)
    h = [hash_ids(ids, seed).astype(np.float64) for seed in range(4)]
    correlation = np.corrcoef(h) - np.eye(4)
    assert np.abs(correlation).max() < 4 / math.sqrt(n)
    flipped = ids ^ np.array([1 << 40, 0], np.uint64)
    changed = np.bitwise_count(hash_ids(ids, 0) ^ hash_ids(flipped, 0))
    assert abs(changed.mean() - 32) < 4 * 4 / math.sqrt(n)


def test_mix64_is_the_published_splitmix64():
    state = np.array([0x9E3779B97F4A7C15 * (i + 1) % 2**64 for i in range(3)], np.uint64)
    assert mix64(state).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_exponential_variables_keep_their_resolution_near_zero_and_their_tail():
    edges = np.array([0, 1, 2**64 - 1], np.uint64)
    least, second, largest = np.exp(log_exponential(edges))
    assert least == pytest.approx(2.0**-65) and second == pytest.approx(1.5 * 2.0**-64)
    assert largest == pytest.approx(53 * LN2)
    e = np.exp(log_exponential(hash_ids(sequential_ids(1_000_000), 3)))
    assert abs(e.mean() - 1) < 0.005 and abs((e > 5).mean() - math.exp(-5)) < 4 * math.sqrt(math.exp(-5) / 1e6)
    assert exact_log(np.array([1.0]))[0] == 0.0
