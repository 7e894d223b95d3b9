"""May this candidate replace the champion?

Yes, if fresh text got better, every pool of old text stayed within a margin of the champion's bits per byte and within
a wider one of a reference that many small losses cannot move, no single slice is shown to be worse, and neither is a
further task (guard.py). Each is shown
by a one-sided bound at the level of the ask. All must pass at once, so no further correction is due: over all asks
against one champion, a candidate that is no better passes with probability at most 1 - gate.confidence. docs/gate.md
tells the rule in words and what it was measured to do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from cluster.readable import whole
from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.bounds import Array, Correlation, PairedItems, highest, level_of, lowest, within_day
from ray_jobs.evaluation.decision import (
    Decision,
    SliceResult,
    advice_fresh,
    fresh_sentence,
    pool_sentence,
    result,
    slice_sentence,
)
from ray_jobs.evaluation.guard import HARM, Guard, guarded
from ray_jobs.evaluation.pairs import Pairs, not_finite, pair
from ray_jobs.evaluation.tasks.task import Scores

POOL_LEAST = 1000  # old documents; sources with fewer are judged together
SLICE_LEAST = 20  # documents; single slices with fewer are judged in their pool only
CHAMPION, DRIFT = "the champion", "the drift reference"  # what old text is compared against
USED_UP = "small losses since then have added up to it; raise round.replay_share, or promote --to --reference"


@dataclass(frozen=True)
class Terms:
    """The circumstances of an ask: the how-manieth against this champion, and of how many candidates.

    drift_asks: the how-manieth against a source's figures in the drift reference; arrivals: held-out documents a day.
    """

    ask: int = 1
    candidates: int = 1
    champion: str | None = None
    drift_asks: Mapping[str, int] = field(default_factory=dict)
    arrivals: float = 0.0


@dataclass(frozen=True)
class Against:
    """What else a candidate is compared with: the drift reference's figures, and the champion at further tasks."""

    drift: Scores | None = None
    tasks: Mapping[str, Guard] = field(default_factory=dict)


NOTHING = Against()


def decide(
    candidate: Scores,
    reference: Scores,
    text: pa.Table,
    terms: Terms,
    config: GateConfig,
    against: Against = NOTHING,
) -> Decision:
    """Judge a candidate by its held-out documents against the reference's figures on the same documents.

    Slices are named "source/2026-01"; text has id, day and fresh of the documents that count. reference: the champion,
    or the untrained model where terms name no champion. Raises ValueError for scores with a repeated id or an item
    without size.
    """
    broken = not_finite(candidate, "candidate") or not_finite(reference, "reference")
    if broken:
        level = level_of(terms.ask, 1 - config.confidence, terms.candidates)
        return Decision("refused", [broken], ask=terms.ask, level=level, old_margin=config.old_margin)
    pairs = pair(candidate, reference, text)
    drifted = pair(candidate, against.drift, text) if against.drift is not None and terms.champion else None
    decision = weigh(pairs, drifted, terms, config)
    for name, guard in against.tasks.items():
        decision = guarded(decision, name, guard)
    unpaired = max(candidate.table.num_rows, reference.table.num_rows) - pairs.sample.count
    notes = [f"{whole(unpaired)} held-out documents were read by one model only and do not count"] if unpaired else []
    return replace(decision, reasons=decision.reasons + notes)


def weigh(pairs: Pairs, drift: Pairs | None, terms: Terms, config: GateConfig) -> Decision:
    """Judge by paired documents; drift: the candidate beside the drift reference's figures."""
    alpha = 1 - config.confidence
    fresh, old = (pairs, None) if terms.champion is None else (pairs.of(pairs.fresh), pairs.of(~pairs.fresh))
    known = within_day((old or fresh).sample)
    level = level_of(terms.ask, alpha, terms.candidates)
    test = _fresh(fresh.sample, known, level, terms, config)
    found: list[SliceResult] = []
    failed: dict[str, str] = {}
    held: list[str] = []
    if old is not None:
        pools, lost = _pools(old, known, config.old_margin, {"": level}, CHAMPION)
        slices, harmed = _slices(old, known, config.old_margin, CHAMPION)
        found, failed = [*pools, *slices], lost | harmed
        held = [_within(pools, config.old_margin)] if not failed else []
    if drift is not None and drift.sample.count:
        levels = {name: level_of(ask, alpha, terms.candidates) for name, ask in terms.drift_asks.items()}
        pools, lost = _pools(
            drift, known, config.drift_margin, {"": level_of(1, alpha, terms.candidates), **levels}, DRIFT
        )
        slices, harmed = _slices(drift, known, config.drift_margin, DRIFT)
        said = {one.name: round(one.difference, 4) for one in found if one.name in failed}
        for one in (*pools, *slices):  # the reference may still have the champion's own figures: that is said once
            reason = f"{lost[one.name]}: {USED_UP}" if one.name in lost else harmed.get(one.name)
            if reason and said.get(one.name) != round(one.difference, 4):
                failed[f"{DRIFT} {one.name}"] = reason
    passes = test.found.verdict == "better"
    skew, kurtosis = _shape(fresh.sample)
    first = [] if passes else [test.sentence]
    return Decision(
        "promoted" if passes and not failed else "refused",
        [*first, *failed.values(), *([test.sentence] if passes else []), *held],
        [*_of_slices(fresh, known), *found],
        test.found,
        terms.ask,
        level,
        config.old_margin,
        terms.champion or "the untrained model",
        skew,
        kurtosis,
    )


def best(decisions: Sequence[Decision]) -> int:
    """Of candidates that asked together, the one that was promoted with the lowest fresh estimate; else the nearest."""

    def rank(index: int) -> tuple[bool, float]:
        decision = decisions[index]
        return not decision.promoted, decision.fresh.difference if decision.fresh else math.inf

    return min(range(len(decisions)), key=rank)


@dataclass(frozen=True)
class _FreshTest:
    found: SliceResult
    sentence: str


def _fresh(sample: PairedItems, known: Correlation, level: float, terms: Terms, config: GateConfig) -> _FreshTest:
    if not sample.count:
        nothing = SliceResult("fresh", "fresh", 0, 0, math.nan, math.nan, math.nan, None, None, "unclear")
        return _FreshTest(replace(nothing, before=0.0, after=0.0, difference=0.0), "there is no fresh document")
    limit = -config.fresh_margin * sample.reference
    found = result("fresh", "fresh", sample, (lowest(sample, HARM, known), highest(sample, level, known)), limit)
    against = f" against {terms.champion}" if terms.champion else " against the untrained model"
    following = level_of(terms.ask + 1, 1 - config.confidence, terms.candidates)
    advice = advice_fresh(sample, limit, following, known, terms.arrivals)
    return _FreshTest(found, fresh_sentence(found, sample, f"ask {terms.ask}{against}, level {level:.2g}", advice))


def pools_of(sources: Array) -> dict[str, list[str]]:
    """Tell which sources are judged together, by the number of their documents alone.

    A source with at least POOL_LEAST documents is a pool; the others are one together, which joins the smallest of
    the large ones if it is still too small.
    """
    names, counts = np.unique(sources, return_counts=True)
    sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
    small = [name for name in sizes if sizes[name] < POOL_LEAST]
    groups = {name: [name] for name in sizes if name not in small}
    if small and groups and sum(sizes[name] for name in small) < POOL_LEAST:
        groups[min(groups, key=lambda name: sizes[name])] += small
    elif small:
        groups[small[0] if len(small) == 1 else "other sources" if groups else "all sources"] = small
    return groups


def _pools(
    old: Pairs, known: Correlation, margin: float, levels: Mapping[str, float], against: str
) -> tuple[list[SliceResult], dict[str, str]]:
    """Bound every pool's loss; levels by source, "" for the others: a pool has the smallest of its sources.

    Returns the reason to refuse for each that may have lost too much, too.
    """
    found, failed = [], {}
    for name, members in pools_of(old.sources).items():
        sample = old.of(np.isin(old.sources, members)).sample
        level = min(levels.get(member, levels[""]) for member in members)
        limit = margin * sample.reference
        bounds = lowest(sample, HARM, known), highest(sample, level, known)
        found.append(result(name, "pool", sample, bounds, limit))
        if bounds[1] > limit:
            failed[name] = pool_sentence(found[-1], sample, margin, against, level)
    return found, failed


def _slices(old: Pairs, known: Correlation, margin: float, against: str) -> tuple[list[SliceResult], dict[str, str]]:
    """Find slices that are shown to be worse; against the drift reference, than the margin itself."""
    found = _of_slices(old, known, margin)
    harmed = {}
    for one in found:
        low, limit = one.low if one.low is not None else -math.inf, one.limit
        if one.documents >= SLICE_LEAST and (low > limit if against == DRIFT else low > 0 and one.difference > limit):
            harmed[one.name] = slice_sentence(one, against)
    return found, harmed


def _of_slices(pairs: Pairs, known: Correlation, margin: float | None = None) -> list[SliceResult]:
    """Bound each slice, all of them together at HARM; margin: of an old slice."""
    names, sizes = np.unique(pairs.slices, return_counts=True)
    judged = max(int((sizes >= SLICE_LEAST).sum()), 1)
    found = []
    for name in names.tolist():
        sample = pairs.of(pairs.slices == name).sample
        bounds = lowest(sample, HARM / judged, known), -lowest(sample.reversed(), HARM / judged, known)
        limit = 0.0 if margin is None else margin * sample.reference
        found.append(result(name, "fresh" if margin is None else "old", sample, bounds, limit))
    return found


def _within(pools: Sequence[SliceResult], margin: float) -> str:
    if not pools:
        return "there is no old text to protect yet"
    worst = max(pools, key=lambda pool: (pool.high or 0.0) - pool.limit)
    documents = sum(pool.documents for pool in pools)
    said = f"old text stayed within {margin:.1%} over {whole(documents)} documents"
    return f"{said}: {worst.name} at most {worst.high:+.4f}, limit {worst.limit:+.4f}"


def _shape(sample: PairedItems) -> tuple[float | None, float | None]:
    """Skew and kurtosis of the residuals: what the bound's honesty hangs on."""
    if sample.count < 3:
        return None, None
    residuals = sample.after - sample.before - sample.difference * sample.sizes
    spread = residuals.std()
    if not spread:
        return None, None
    z = (residuals - residuals.mean()) / spread
    return round(float((z**3).mean()), 3), round(float((z**4).mean()), 3)
