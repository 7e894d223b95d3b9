"""Are the bounds those of the rule, computed once more by hand, and do the levels of all asks add up to alpha?"""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_jobs.evaluation.bounds import (
    UNKNOWN,
    Correlation,
    PairedItems,
    by_day,
    highest,
    items_needed,
    least_items,
    level_of,
    lowest,
    student_t,
    upper,
    within_day,
)


def sample(
    seed: int, documents: int = 60, days: int | None = None, gain: float = 0.0, noise: float = 0.1
) -> PairedItems:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 5000, documents).astype(float)
    day = np.arange(documents) if days is None else rng.integers(0, days, documents)
    before = sizes * 1.8
    return PairedItems(sizes, before, before + sizes * (noise * rng.standard_t(3, documents) - gain), day)


def by_hand(sizes: list[float], differences: list[float], level: float, guard: float = 0.5) -> float:
    """The rule's formula, item by item."""
    n, mean = len(sizes), sum(sizes) / len(sizes)
    ratio = sum(differences) / sum(sizes)
    residuals = [(d - ratio * b) / mean for b, d in zip(sizes, differences, strict=True)]
    harm = max(*residuals, 0.0) * guard * math.log10(1 / level)
    error = math.sqrt((statistics.variance(residuals) + harm**2 / n) / n)
    return ratio + harm / n + student_t(level, n - 1) * error


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 80), st.sampled_from([0.05, 0.0033, 1e-5]))
def test_a_bound_is_that_of_the_formula(seed: int, documents: int, level: float) -> None:
    one = sample(seed, documents)
    expected = by_hand(one.sizes.tolist(), (one.after - one.before).tolist(), level)
    assert highest(one, level) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    turned = by_hand(one.sizes.tolist(), (one.before - one.after).tolist(), level, 0.0)
    assert lowest(one, level) == pytest.approx(-turned, rel=1e-9, abs=1e-12)


def test_a_bound_in_closed_form() -> None:
    """Equal sizes, differences -1 and 1: ratio 0, variance 2, the worst residual 1."""
    pair = PairedItems(np.ones(2), np.zeros(2), np.array([-1.0, 1.0]), np.arange(2))
    harm = 0.5 * 2  # of log10(1 / 0.01)
    assert highest(pair, 0.01) == pytest.approx(harm / 2 + student_t(0.01, 1) * math.sqrt((2 + harm**2 / 2) / 2))
    assert lowest(pair, 0.01) == pytest.approx(-student_t(0.01, 1))
    assert highest(PairedItems(np.ones(1), np.zeros(1), np.ones(1), np.zeros(1)), 0.01) == math.inf


def test_many_samples_at_once_are_bounded_like_each_alone() -> None:
    many = [sample(seed) for seed in range(5)]
    found = upper(np.stack([m.sizes for m in many]), np.stack([m.after - m.before for m in many]), 0.01)
    assert found.tolist() == [highest(m, 0.01) for m in many]


def test_the_levels_of_endlessly_many_asks_add_up_to_alpha_and_no_more() -> None:
    first = sum(level_of(k, 0.05) for k in range(1, 200_000))
    rest = 0.05 * 0.4737 / math.log(200_000)  # the integral of 1 / (k ln^2 k)
    assert 0.0499 < first + rest <= 0.05
    assert level_of(3, 0.05, 4) * 4 == pytest.approx(level_of(3, 0.05))


def test_an_ask_needs_more_documents_the_later_it_is() -> None:
    assert [least_items(level_of(k, 0.05)) for k in (1, 3, 10, 30)] == [32, 75, 140, 210]


def test_twenty_days_count_as_items_where_that_says_more() -> None:
    one = sample(3, 400, days=25)
    shifted = PairedItems(one.sizes, one.before, one.after + one.sizes * 0.2 * np.sin(one.days), one.days)
    sizes, differences, _ = by_day(shifted)
    apart = by_hand(sizes.tolist(), differences.tolist(), 0.01)
    alone = by_hand(shifted.sizes.tolist(), (shifted.after - shifted.before).tolist(), 0.01)
    assert highest(shifted, 0.01) == pytest.approx(max(alone, apart)) and apart > alone


def test_few_days_borrow_their_correlation_from_old_text() -> None:
    one = sample(4, 100, days=5)
    assert within_day(one) == UNKNOWN
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(40), 10)
    noise = rng.normal(0, 1, 40)[day] + rng.normal(0, 1, 400)  # half of the variance is the day's
    old = PairedItems(np.full(400, 1000.0), np.zeros(400), 1000 * noise, day)
    known = within_day(old)
    assert known.days == 40 and 0.4 < known.within_day < 0.9
    bounds = [highest(one, 0.01, Correlation(rho, 40)) for rho in (0.0, 0.05, known.within_day)]
    assert bounds == sorted(bounds) and bounds[0] < bounds[2]


def test_as_many_documents_as_are_said_to_be_needed_are_about_enough() -> None:
    one = sample(5, 100, gain=0.02, noise=0.03)
    more = items_needed(one, 0.0, level_of(2, 0.05))
    assert more is not None and more > 0
    again = [sample(seed, 100 + more, gain=-one.difference, noise=0.03) for seed in range(200)]
    passed = sum(highest(s, level_of(2, 0.05)) < 0 for s in again)
    assert 0.6 < passed / 200 < 0.99
    assert items_needed(sample(6, 100, gain=-0.5), 0.0, 0.01) is None


@pytest.mark.parametrize(
    ("level", "freedom", "known"),
    [(0.05, 4, 2.132), (0.05, 29, 1.699), (0.001, 30, 3.385), (1e-5, 60, 4.64), (0.05, 1000, 1.646)],
)
def test_student_t_agrees_with_the_tables(level: float, freedom: int, known: float) -> None:
    assert student_t(level, freedom) == pytest.approx(known, abs=0.01)
