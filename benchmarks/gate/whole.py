"""What does the gate's own decision do with old text: kept, one slice that lost, all a little, that for 200 eras?"""

from collections.abc import Sequence

import numpy as np

from benchmarks.gate.families import Array, residuals, sizes
from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.bounds import PairedItems, highest, level_of
from ray_jobs.evaluation.decision import Decision
from ray_jobs.evaluation.gate import Terms, weigh
from ray_jobs.evaluation.pairs import Pairs

BITS = 1.8
MARGIN = 0.01 * BITS
CONFIG = GateConfig()


def text(rng: np.random.Generator, old: Sequence[float], deviation: float, gain: float, each: int = 300) -> Pairs:
    """Ten slices or so of old documents with a loss each, and 1,000 fresh ones that got better by `gain`."""
    names = np.array([f"news/{n:02d}" for n in range(len(old))] + ["news/fresh"])
    at = np.concatenate([np.repeat(np.arange(len(old)), each), np.full(1000, len(old))])
    loss = np.array([*old, -gain])[at]
    size = sizes(rng, (len(at),))
    before = BITS * size
    after = before + size * (loss + deviation * residuals("demo", rng, (len(at),)))
    sample = PairedItems(size, before, after, np.arange(len(at)))
    return Pairs(sample, names[at], np.full(len(at), "news"), at == len(old))


def promoted(old: Sequence[float], deviation: float, gain: float, ask: int, runs: int) -> float:
    """Return how often the gate promotes at an ask."""
    rng = np.random.default_rng(ask)
    terms = Terms(ask, 1, "champion")
    return sum(weigh(text(rng, old, deviation, gain), None, terms, CONFIG).promoted for _ in range(runs)) / runs


def drift(loss: float, eras: int, seed: int, *, ratchet: bool) -> float:
    """Return what old text has lost in the end, in margins, when each candidate loses `loss` margins and gains afresh.

    The champions' true costs are followed; a candidate that is refused is followed by one that lost nothing more.
    """
    rng, n = np.random.default_rng(seed), 2000
    size = sizes(rng, (n,))
    fresh = _fresh(rng)
    champion, reference, truth = BITS * size, BITS * size, 0.0
    asks, moved_at = 1, 1
    for _ in range(eras):
        step = loss * MARGIN
        candidate = champion + size * (step + 0.02 * residuals("demo", rng, (n,)))
        drifted = _pairs(size, reference, candidate, None) if ratchet else None
        pairs = _pairs(size, champion, candidate, fresh)
        terms = Terms(1, 1, "champion", drift_asks={"news": asks})
        asks += 1
        decision: Decision = weigh(pairs, drifted, terms, CONFIG)
        if not decision.promoted:
            continue
        truth += step
        champion = candidate
        sample = PairedItems(size, reference, candidate, np.arange(n))
        if highest(sample, level_of(moved_at, 0.05)) < 0:
            reference, moved_at, asks = candidate, 0, 1
        moved_at += 1
    return float((champion - BITS * size).sum() / size.sum() / MARGIN) if truth else 0.0


def _fresh(rng: np.random.Generator) -> PairedItems:
    """300 fresh documents that got clearly better."""
    size = sizes(rng, (300,))
    return PairedItems(size, BITS * size, size * (BITS - 0.05 + 0.02 * residuals("demo", rng, (300,))), np.arange(300))


def _pairs(size: Array, before: Array, after: Array, fresh: PairedItems | None) -> Pairs:
    n = len(size)
    old = PairedItems(size, before, after, np.arange(n))
    if fresh is None:
        return Pairs(old, np.full(n, "news/1"), np.full(n, "news"), np.zeros(n, bool))
    joined = (np.concatenate([getattr(old, c), getattr(fresh, c)]) for c in ("sizes", "before", "after"))
    m = n + fresh.count
    names = np.concatenate([np.full(n, "news/1"), np.full(fresh.count, "news/2")])
    return Pairs(PairedItems(*joined, np.arange(m)), names, np.full(m, "news"), np.arange(m) >= n)
