"""Is a candidate within the margin of the champion at a further task (`evaluate.tasks`)?

The task is one pool, and none of its slices may be shown to be worse. Its bound is at the level of the ask.
"""

from dataclasses import dataclass, replace

import numpy as np

from cluster.readable import signed, whole
from ray_jobs.evaluation.bounds import Correlation, PairedItems, highest, items_needed, lowest
from ray_jobs.evaluation.decision import Decision, SliceResult, result
from ray_jobs.evaluation.pairs import not_finite, pair
from ray_jobs.evaluation.tasks.task import Scores

HARM = 0.05  # level at which harm counts as shown
ALONE = Correlation(0.0)


@dataclass(frozen=True)
class Guard:
    """Both models' scores at a further task, and by how much the candidate may be worse."""

    candidate: Scores
    champion: Scores
    margin: float | None  # None: both are shown, and nothing is asked


def guarded(decision: Decision, name: str, guard: Guard) -> Decision:
    """Refuse a candidate that is not shown to be within the margin of the champion at a further task."""
    broken = not_finite(guard.candidate, f"candidate at {name}") or not_finite(guard.champion, f"champion at {name}")
    if broken:
        return _refused(decision, [broken]) if guard.margin is not None else _noted(decision, broken)
    pairs = pair(guard.candidate, guard.champion)
    if not pairs.sample.count:
        said = f"no item of {name} was asked of both models"
        return _refused(decision, [said]) if guard.margin is not None else _noted(decision, said)
    names = np.unique(pairs.slices).tolist()
    pool = _judged(name, pairs.sample, decision.level, HARM, guard)
    slices = [
        _judged(s, pairs.of(pairs.slices == s).sample, HARM / len(names), HARM / len(names), guard) for s in names
    ]
    reasons = []
    if guard.margin is not None and pool.verdict not in ("better", "within"):
        verb = "lost" if pool.verdict == "worse" else "may have lost"
        advice = _advice(pairs.sample, guard.margin, decision.level) if pool.verdict == "unclear" else ""
        reasons.append(
            f"{name} {verb} more than {guard.margin:g} {guard.candidate.unit}: {_bounds(pool, guard)}{advice}"
        )
    if guard.margin is not None:
        reasons += [f"{s.name} of {name} got worse: {_bounds(s, guard)}" for s in slices if s.verdict == "worse"]
    shown = [_in_unit(one, guard.candidate) for one in (pool, *slices)]
    decision = replace(decision, tasks={**decision.tasks, name: shown})
    return _refused(decision, reasons) if reasons else decision


def _judged(name: str, sample: PairedItems, level: float, harm: float, guard: Guard) -> SliceResult:
    bounds = lowest(sample, harm, ALONE), highest(sample, level, ALONE)
    return result(name, "shown" if guard.margin is None else "pool", sample, bounds, guard.margin or 0.0)


def _advice(sample: PairedItems, margin: float, level: float) -> str:
    """Say how many more items would show it."""
    more = items_needed(sample, margin, level, ALONE)
    return f"; if that is the truth, about {whole(more)} more items would show it" if more else ""


def _noted(decision: Decision, reason: str) -> Decision:
    return replace(decision, reasons=[*decision.reasons, reason])


def _refused(decision: Decision, reasons: list[str]) -> Decision:
    """Put what refuses before what speaks for the candidate; behind what refused it already."""
    both = [*reasons, *decision.reasons] if decision.promoted else [*decision.reasons, *reasons]
    return replace(decision, verdict="refused", reasons=both)


def _in_unit(judged: SliceResult, scores: Scores) -> SliceResult:
    """Turn costs back into the task's figures, where more may be better."""
    if scores.better == "lower":
        return replace(judged, unit=scores.unit)
    low, high = (None if bound is None else -bound for bound in (judged.high, judged.low))
    turned = {key: -getattr(judged, key) for key in ("before", "after", "difference")}
    return replace(judged, **turned, low=low, high=high, unit=scores.unit)


def _bounds(judged: SliceResult, guard: Guard) -> str:
    shown = _in_unit(judged, guard.candidate)
    bounds = f"[{signed(shown.low, 4)}, {signed(shown.high, 4)}]"
    return f"{signed(shown.difference, 4)} {shown.unit} {bounds} over {whole(shown.documents)} items"
