"""How often is a champion ever replaced by what is no better, over K asks while documents gather?"""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.gate.bootstrap import bounds_before
from benchmarks.gate.families import Array, residuals, sizes
from ray_jobs.evaluation.bounds import least_items, level_of, student_t, upper

ALPHA = 0.05
AT_ONCE = 4_000_000  # documents in memory


@dataclass(frozen=True)
class Era:
    """One cell: K asks of m candidates that are no better; so many documents arrive between two."""

    family: str
    documents: int
    asks: int
    candidates: int = 1
    shared: float = 0.0  # share of the noise's variance that all candidates of an era have in common
    days: int = 0  # that share a third of a document's noise, a round; 0: none


def false_promotions(era: Era, series: int, seed: int) -> tuple[float, float]:
    """Return how often the rule, and a plain t at 5 % each time, ever promoted, over simulated series."""
    rng, done = np.random.default_rng(seed), 0
    ever, plain = 0, 0
    at_once = max(1, min(series, AT_ONCE // (era.documents * era.asks)))
    while done < series:
        count = min(at_once, series - done)
        found = _series(era, count, rng)
        ever, plain, done = ever + int(found[0].sum()), plain + int(found[1].sum()), done + count
    return ever / series, plain / series


def before(era: Era, series: int, seed: int) -> float:
    """Return how often the gate as it was before ever promoted."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(series):
        weights, common = _text(era, 1, rng)
        for k in range(1, era.asks + 1):
            size, costs = _candidate(era, k, weights, common, rng)
            if bounds_before(size[0], costs[0], rng)[1] < 0:
                hits += 1
                break
    return hits / series


def _series(era: Era, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    weights, common = _text(era, count, rng)
    ever, plain, ask = np.zeros(count, bool), np.zeros(count, bool), 1
    for k in range(1, era.asks + 1):
        level = level_of(ask, ALPHA, era.candidates)
        asked = era.documents * k >= least_items(level)
        for _ in range(era.candidates):
            size, costs = _candidate(era, k, weights, common, rng)
            if asked:
                ever |= _bound(era, k, size, costs, level) < 0
            plain |= upper(size, costs, ALPHA, guard=0.0) < 0
        ask += asked
    return ever, plain


def _text(era: Era, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    shape = (count, era.documents * era.asks)
    return sizes(rng, shape), residuals(era.family, rng, shape) if era.shared else np.zeros(shape)


def _candidate(era: Era, k: int, weights: Array, common: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bytes, and how much more a candidate costs, on the documents of the first k rounds."""
    n = era.documents * k
    noise = residuals(era.family, rng, (len(weights), n)) * math.sqrt(1 - era.shared)
    noise += common[:, :n] * math.sqrt(era.shared)
    if era.days:
        own = residuals(era.family, rng, (len(weights), era.days * k))
        noise = math.sqrt(0.8) * noise + math.sqrt(0.2) * np.repeat(own, era.documents // era.days, axis=1)
    return weights[:, :n], weights[:, :n] * noise


def _bound(era: Era, k: int, size: Array, costs: Array, level: float) -> Array:
    """The rule's bound of many series at once; whole days where there are twenty (the rule's day branch)."""
    alone = upper(size, costs, level)
    if not era.days:
        return alone
    days = era.days * k
    if days < 20:  # a correlation of 0.2 and 300 days, as old text would have told
        crowd = era.documents / era.days
        return upper(size, costs, level, inflation=1 + (crowd - 1) * 0.2, freedom=min(size.shape[1], 300) - 1)
    sums = [x.reshape(len(x), days, -1).sum(-1) for x in (size, costs)]
    return np.maximum(alone, upper(sums[0], sums[1], level))


def documents_needed(effect: float, deviation: float, ask: int, family: str = "demo") -> int:
    """Return how many fresh documents let a candidate that is better by `effect` pass with a chance of 80 %."""
    level, rng = level_of(ask, ALPHA), np.random.default_rng(ask)
    n = least_items(level)
    reach = (student_t(level, 200) + 0.84) * deviation / effect
    low, high = n, max(n, int(2.5 * reach**2))
    while high > low * 1.02 + 1:
        middle = (low + high) // 2
        runs = max(200, min(1000, 2_000_000 // middle))
        size = sizes(rng, (runs, middle))
        costs = size * (deviation * residuals(family, rng, size.shape) - effect)
        if float((upper(size, costs, level) < 0).mean()) >= 0.8:
            high = middle
        else:
            low = middle
    return high
