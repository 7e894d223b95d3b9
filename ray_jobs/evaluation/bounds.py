"""How sure is a difference per byte, at a level that may be small, and which level is an ask given?

`upper` is Student's t on the residuals of a ratio, *guarded*: as if the most harmful document had come
0.5 log10(1/level) times more, because rare harm makes the plain t too sure (docs/gate.md has the measured levels).
There are no resamples and no seed. Documents of one (source, day) share their error: `Correlation` says how much.
Arrays are [..., items]: leading axes are separate samples, so that a simulation asks the same function.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SHARE = 0.4737  # 1 / sum over k >= 1 of 1 / (k ln^2(k + e - 1)): the levels of endlessly many asks add up to alpha
GUARD = 0.5
SPAN_GUARD = 1.0  # of items that are right or wrong, whose few losses a t knows too little of (docs/tasks.md)
MOST_ANSWERS = 10**8
FEWEST_DAYS = 20  # with fewer, the correlation within a day is taken from old text
UPPER_95 = 1.645


class Correlation(NamedTuple):
    """How alike the errors of documents of one day are (0 to 1), and from how many days that is known."""

    within_day: float
    days: int | None = None


UNKNOWN = Correlation(0.05)


@dataclass(frozen=True)
class PairedItems:
    """Items that two models were asked; all arrays are [items]. days: numbers that items of one day share.

    unit: of what is paid for a size. span: by how much two models can lie apart on one item (right or wrong: 1); then
    the guard reckons with such an item, seen or not. 0: nobody can say, and the most harmful one that was seen counts.
    """

    sizes: Array
    before: Array
    after: Array
    days: Array
    unit: str = "bits/byte"
    span: float = 0.0

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.sizes)

    @property
    def reference(self) -> float:
        """What the reference pays for a byte."""
        return float(self.before.sum() / self.sizes.sum())

    @property
    def difference(self) -> float:
        """How much more a byte costs afterwards; below zero is better."""
        return float((self.after - self.before).sum() / self.sizes.sum())

    def reversed(self) -> "PairedItems":
        """Return the same with before and after exchanged."""
        return PairedItems(self.sizes, self.after, self.before, self.days, self.unit, self.span)


def level_of(ask: int, alpha: float, candidates: int = 1) -> float:
    """Return the level of the ask-th ask (from 1) against one reference, for one of the candidates that ask together.

    >>> [round(level_of(ask, 0.05), 5) for ask in (1, 3, 10)]
    [0.02369, 0.00328, 0.00039]
    """
    return alpha * SHARE / (ask * math.log(ask + math.e - 1) ** 2) / candidates


def least_items(level: float) -> int:
    """Return how many fresh documents an ask needs; with fewer nothing is asked, and nothing spent.

    >>> [least_items(level_of(ask, 0.05)) for ask in (1, 3, 10, 30)]
    [32, 75, 140, 210]
    """
    return math.ceil(12 * math.log10(1 / level) ** 2)


def upper(
    sizes: Array,
    differences: Array,
    level: float,
    *,
    guard: float = GUARD,
    inflation: float = 1.0,
    freedom: int = 0,
    span: float = 0.0,
) -> Array:
    """Return a bound above sum(differences) / sum(sizes) of independent items, wrong with probability `level`.

    inflation: of the variance, where items are not independent; freedom: of Student's t, else items - 1; span: the most
    that a difference can be, where that is known.
    """
    n = sizes.shape[-1]
    ratio = differences.sum(-1) / sizes.sum(-1)
    if n < 2:
        return np.full_like(ratio, math.inf)
    residuals = (differences - ratio[..., None] * sizes) / sizes.mean(-1)[..., None]
    unseen = (span - ratio * sizes.mean(-1)) / sizes.mean(-1) if span else 0.0
    harm = np.maximum(np.maximum(residuals.max(-1), unseen), 0.0) * guard * math.log10(1 / level)
    error = np.sqrt(inflation * (residuals.var(-1, ddof=1) + harm**2 / n) / n)
    return np.asarray(ratio + harm / n + student_t(level, freedom or n - 1) * error)


def highest(sample: PairedItems, level: float, known: Correlation = UNKNOWN, guard: float = GUARD) -> float:
    """Return the upper bound of the difference; days count as items where that says more."""
    sizes, differences = sample.sizes, sample.after - sample.before
    guard = SPAN_GUARD if sample.span and guard else guard
    day_sizes, day_differences, crowd = by_day(sample)
    alone = float(upper(sizes, differences, level, guard=guard, span=sample.span))
    if len(day_sizes) == sample.count:
        return alone
    if len(day_sizes) >= FEWEST_DAYS:
        return max(alone, float(upper(day_sizes, day_differences, level, guard=guard)))
    inflation, freedom = 1 + (crowd - 1) * known.within_day, min(sample.count, known.days or sample.count) - 1
    return float(upper(sizes, differences, level, guard=guard, inflation=inflation, freedom=freedom))


def lowest(sample: PairedItems, level: float, known: Correlation = UNKNOWN) -> float:
    """Return the lower bound of the difference, without the guard: it only ever refuses."""
    return -highest(sample.reversed(), level, known, guard=0.0)


def by_day(sample: PairedItems) -> tuple[Array, Array, float]:
    """Return sizes and differences summed by day, and how many items of its day an item sees on average."""
    _, at, counts = np.unique(sample.days, return_inverse=True, return_counts=True)
    sums = [np.bincount(at, x) for x in (sample.sizes, sample.after - sample.before)]
    return sums[0], sums[1], float((counts**2).sum() / max(len(at), 1))


def within_day(old: PairedItems) -> Correlation:
    """Return the upper 95 % value of the correlation within a day of old text, or `UNKNOWN` where it has few days."""
    if old.count < FEWEST_DAYS:
        return UNKNOWN
    sizes, differences, crowd = by_day(old)
    days = len(sizes)
    if days < FEWEST_DAYS or crowd <= 1:
        return UNKNOWN
    ratio = differences.sum() / sizes.sum()
    apart = ((old.after - old.before - ratio * old.sizes) ** 2).sum()
    if not apart:
        return Correlation(0.0, days)
    design = ((differences - ratio * sizes) ** 2).sum() * days / (days - 1) / apart
    within = (design * math.exp(UPPER_95 * math.sqrt(2 / days)) - 1) / (crowd - 1)
    return Correlation(min(max(float(within), 0.0), 1.0), days)


def items_needed(sample: PairedItems, limit: float, level: float, known: Correlation = UNKNOWN) -> int | None:
    """Return how many more items a bound at `level` needs to fall below `limit` with a chance of 80 %.

    That is, if the truth is what it looks like; None if it does not look like it lies below the limit.
    """
    n, ratio = sample.count, sample.difference
    if n < 2 or ratio >= limit:
        return None
    quantile = student_t(level, max(n - 1, 4))
    residuals = (sample.after - sample.before - ratio * sample.sizes) / sample.sizes.mean()
    if sample.span:
        return _answers_needed(sample, limit, level)
    harm = max(float(residuals.max()), 0.0) * GUARD * math.log10(1 / level)
    spread = max(highest(sample, level, known) - ratio - harm / n, 1e-12) / quantile * math.sqrt(n)
    reach, gap = (quantile + NormalDist().inv_cdf(0.8)) * spread, limit - ratio
    needed = ((reach + math.sqrt(reach**2 + 4 * gap * harm)) / (2 * gap)) ** 2
    return max(math.ceil(needed), least_items(level), n + 1) - n


def _answers_needed(sample: PairedItems, limit: float, level: float) -> int | None:
    """The same for items whose span is known; their guard shrinks with their number, so numbers are tried."""
    n, ratio = sample.count, sample.difference
    spread = float(((sample.after - sample.before - ratio * sample.sizes) / sample.sizes.mean()).var(ddof=1))
    harm = (sample.span - ratio) * SPAN_GUARD * math.log10(1 / level)
    reach = student_t(level, max(n - 1, 4)) + NormalDist().inv_cdf(0.8)
    few, many = n, MOST_ANSWERS
    while many - few > 1:
        middle = (few + many) // 2
        passes = ratio + harm / middle + reach * math.sqrt((spread + harm**2 / middle) / middle) <= limit
        few, many = (few, middle) if passes else (middle, many)
    return many - n if many < MOST_ANSWERS else None


def student_t(level: float, freedom: int) -> float:
    """Return what Student's t exceeds with probability `level`, by Cornish-Fisher (Abramowitz, Stegun 26.7.5).

    The true level is within 6 % of `level` down to 1e-7 from 19 degrees of freedom on.

    >>> round(student_t(0.05, 4), 2), round(student_t(0.05, 60), 3)
    (2.13, 1.671)
    """
    z, v = -NormalDist().inv_cdf(level), freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3
