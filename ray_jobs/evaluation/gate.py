"""May this candidate replace the champion?

Yes, if every figure is finite, fresh text got better, and no old slice got worse than a margin, each shown
by a one-sided confidence bound and not by a mean; nor may a further task (`evaluate.tasks`) get worse than its
margin. Items are paired (the same held-out document under both models), weighted by size, and resampled by
Poisson(1) weights that are a hash of (seed, item's id, resample): no order, repeat or machine changes a
verdict. All must pass at once (an intersection-union test), so no multiplicity correction is due: a bad
candidate passes with probability at most 1 - confidence. The price is power: with many small old slices a
good candidate may be refused as unclear; the cure is more held-out text.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from cluster.readable import signed
from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.bootstrap import Pairs, bounds, column, pair
from ray_jobs.evaluation.tasks.held_out_bits import uniform
from ray_jobs.evaluation.tasks.task import Scores

Role = Literal["fresh", "old"]
Verdict = Literal["better", "within", "worse", "unclear"]


@dataclass(frozen=True)
class SliceResult:
    """One slice in `unit`; low and high bound the difference, each at `confidence`. bytes: the sizes of its items."""

    name: str
    role: Role
    documents: int
    bytes: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    verdict: Verdict
    unit: str = "bits/byte"


@dataclass(frozen=True)
class Decision:
    """The verdict on one candidate, with its reasons as sentences."""

    promoted: bool
    reasons: list[str]
    slices: list[SliceResult] = field(default_factory=list)
    fresh: SliceResult | None = None
    fresh_margin: float = 0.0
    old_margin: float = 0.0
    confidence: float = 0.95
    against: str = "the champion"
    tasks: dict[str, list[SliceResult]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON-able values; an infinite bound becomes None."""
        return {key: _jsonable(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Guard:
    """Both models' scores at a further task, and by how much the candidate may be worse."""

    candidate: Scores
    champion: Scores
    margin: float


def decide(
    candidate: Scores,
    champion: Scores | None,
    config: GateConfig,
    *,
    fresh_slices: Iterable[str],
    untrained: Scores | None = None,
    tasks: Mapping[str, Guard] = MappingProxyType({}),
) -> Decision:
    """Judge a candidate by its held-out documents against the champion's figures on the same documents.

    Slices are named "source/2026-01"; only documents that both models have read count. Without a champion, a candidate
    that beats `untrained` (or, without that, 8 bits per byte) becomes the first one. tasks: in which a candidate must
    not be worse than the champion. Raises ValueError for scores with a repeated id or an item without size.
    """
    reference = champion if champion is not None else untrained
    if broken := _not_finite(candidate, "candidate") or (reference and _not_finite(reference, "reference")):
        return Decision(False, [broken])
    pairs = pair(candidate, reference if reference is not None else uniform(candidate))
    if champion is None:
        against = "8 bits/byte" if untrained is None else "the untrained model"
        decision = replace(_first_champion(pairs, config, against), against=against)
    else:
        decision = _against_champion(pairs, config, frozenset(fresh_slices))
    for name, guard in tasks.items():
        decision = _guarded(decision, name, guard, config)
    unpaired = max(s.table.num_rows for s in (candidate, reference) if s is not None) - len(pairs.ids)
    notes = [f"{unpaired:,} held-out documents were read by one model only and do not count"] if unpaired else []
    margins = {name: getattr(config, name) for name in ("fresh_margin", "old_margin", "confidence")}
    return replace(decision, reasons=decision.reasons + notes, **margins)


def _guarded(decision: Decision, name: str, guard: Guard, config: GateConfig) -> Decision:
    """Refuse a candidate that is not shown to be within the margin of the champion at a further task."""
    broken = _not_finite(guard.candidate, f"candidate at {name}") or _not_finite(guard.champion, f"champion at {name}")
    if broken:
        return replace(decision, promoted=False, reasons=[*decision.reasons, broken])
    pairs = pair(guard.candidate, guard.champion)
    limits = config.model_copy(update={"old_margin": guard.margin})
    found = _judge_slices(pairs, frozenset(pairs.slices.tolist()), "old", guard.margin, config)
    found = [_in_unit(result, guard.candidate) for result in found]
    passes, reasons = _old_verdict(found, limits, guard.candidate.unit, f"slices of {name}")
    return replace(
        decision,
        promoted=decision.promoted and passes,
        reasons=[*decision.reasons, *reasons],
        tasks={**decision.tasks, name: found},
    )


def _in_unit(result: SliceResult, scores: Scores) -> SliceResult:
    """Turn costs back into the task's figures, where more may be better."""
    if scores.better == "lower":
        return replace(result, unit=scores.unit)
    turned = {key: -getattr(result, key) for key in ("before", "after", "difference")}
    return replace(result, **turned, low=-result.high, high=-result.low, unit=scores.unit)


def _against_champion(pairs: Pairs, config: GateConfig, fresh: frozenset[str]) -> Decision:
    names = frozenset(pairs.slices.tolist())
    old = _judge_slices(pairs, names - fresh, "old", config.old_margin, config)
    if not names & fresh:
        return Decision(False, ["nothing fresh: no held-out document is newer than the champion"], old)
    new = _judge_slices(pairs, names & fresh, "fresh", -config.fresh_margin, config)
    pooled = _judge("fresh", pairs.of(fresh), "fresh", -config.fresh_margin, config)
    fresh_passes, fresh_reason = _fresh_verdict(pooled, config)
    old_passes, old_reasons = _old_verdict(old, config)
    return Decision(fresh_passes and old_passes, [fresh_reason, *old_reasons], new + old, pooled)


def _first_champion(pairs: Pairs, config: GateConfig, baseline: str) -> Decision:
    if not len(pairs.ids):
        return Decision(False, ["no champion yet and no held-out document to judge the candidate by"])
    slices = _judge_slices(pairs, frozenset(pairs.slices.tolist()), "fresh", 0.0, config)
    pooled = _judge("all", pairs, "fresh", 0.0, config)
    passes = pooled.verdict == "better"
    said = f"{pooled.after:.3f} bits/byte over {pooled.documents:,} documents"
    verdict = f"beats {baseline}, so it is the first champion" if passes else f"is not shown to beat {baseline}"
    return Decision(passes, [f"no champion yet: {said} {verdict}"], slices, pooled)


def _fresh_verdict(pooled: SliceResult, config: GateConfig) -> tuple[bool, str]:
    figures = f"{_figures(pooled)} over {pooled.documents:,} documents"
    if pooled.documents < config.min_documents:
        return (
            False,
            f"fresh text {figures}: fewer than gate.min_documents={config.min_documents}; hold out more",
        )
    if pooled.verdict == "better":
        return True, f"fresh text got better: {figures}"
    if pooled.verdict == "worse":
        return False, f"fresh text got worse: {figures}"
    return (
        False,
        f"fresh text is not shown to improve by more than {config.fresh_margin:g} bits/byte: {figures}",
    )


def _old_verdict(
    old: list[SliceResult], config: GateConfig, unit: str = "bits/byte", what: str = "old slices"
) -> tuple[bool, list[str]]:
    judged = sorted((s for s in old if s.documents >= config.min_documents), key=lambda s: s.high, reverse=True)
    few = [f"{s.name}: {s.documents} documents are too few to judge" for s in old if s not in judged]
    failed = [s for s in judged if s.verdict in ("worse", "unclear")]
    if failed:
        head = f"{len(failed)} of {len(judged)} {what} may be over {config.old_margin:g} {unit}"
        return False, [head, *(f"{s.name} is {s.verdict}: {_figures(s)}" for s in failed[:5]), *few]
    if not judged:
        return True, ["no old slice to protect yet" if what == "old slices" else f"no {what} to judge", *few]
    head = f"{len(judged)} {what} within {config.old_margin:g} {unit}, worst {judged[0].name}"
    return True, [f"{head}: {_figures(judged[0])}", *few]


def _judge_slices(
    pairs: Pairs, names: frozenset[str], role: Role, limit: float, config: GateConfig
) -> list[SliceResult]:
    """Judge each slice; small ones together per source, and what is then still too small as one."""
    members = {name: [name] for name in sorted(names)}
    for pooled_name in (lambda name: f"{name.partition('/')[0]} other", lambda name: "other"):
        grouped: dict[str, list[str]] = {}
        for name, slices in members.items():
            small = np.isin(pairs.slices, slices).sum() < config.min_documents
            grouped.setdefault(pooled_name(slices[0]) if small else name, []).extend(slices)
        members = grouped
    return [_judge(name, pairs.of(slices), role, limit, config) for name, slices in members.items()]


def _judge(name: str, pairs: Pairs, role: Role, limit: float, config: GateConfig) -> SliceResult:
    size = pairs.sizes.sum()
    before, after = pairs.costs_before.sum() / size, pairs.costs_after.sum() / size
    low, high = bounds(pairs, config.confidence, config.resamples, config.seed)
    verdict: Verdict = "unclear"
    if high < limit or (high <= limit and role == "old"):
        verdict = "better" if role == "fresh" or high < 0 else "within"
    elif low > 0:
        verdict = "worse"
    return SliceResult(
        name=name,
        role=role,
        documents=len(pairs.ids),
        bytes=int(size),
        before=float(before),
        after=float(after),
        difference=float(after - before),
        low=low,
        high=high,
        verdict=verdict,
    )


def _not_finite(scores: Scores, whose: str) -> str | None:
    table = scores.table
    bad = ~np.isfinite(column(table, "total"))
    if not bad.any():
        return None
    names = sorted({str(name) for name, is_bad in zip(table["slice"].to_pylist(), bad, strict=True) if is_bad})
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"the {whose}'s loss is not finite on {bad.sum():,} of {len(bad):,} held-out documents ({shown})"


def _figures(s: SliceResult) -> str:
    return f"{signed(s.difference, 4)} {s.unit} [{signed(s.low, 4)}, {signed(s.high, 4)}]"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
