"""What is there to say about a run, in figures and in pictures?

Everything is computed from what was written down: the run's events, the lake's tables and the audit. `summarise` gives
summary.json, `gather.gather` what the report draws.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

import numpy as np
import pyarrow as pa

from data_ops.audit.account import Account
from data_ops.lake.window import Window
from models.config import EngineConfig
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.position import Position
from ray_jobs.evaluation.decision import Decision
from ray_jobs.evaluation.scores import by_slice
from ray_jobs.report.data import Summary
from ray_jobs.report.freshness import KeptObjectives, chain_of, kept_objectives
from ray_jobs.training.events import CandidateJudged, Evaluated, Event, StepDone, final_steps

State = Literal["ended", "stopped", "running"]
NOT_JUDGED: Mapping[State, str] = {
    "ended": "nothing new was trained to the end, so nothing was judged",
    "stopped": "stopped by you before anything was judged; the same command goes on",
    "running": "the run goes on, and was not judged yet",
}


class Word(TypedDict):
    """What the gate said."""

    promoted: bool
    verdict: str | None
    reasons: list[str]


class Speed(TypedDict):
    """How fast a driver trained; None without a step."""

    tokens_per_second: float | None
    data_wait_share: float | None
    freshness_s: dict[str, float | None]


@dataclass(frozen=True)
class Identity:
    """Which weights came of which data: checkpoint, weights, reservoir as of the last window, tokenizer."""

    checkpoint: str
    weights_sha256: str
    sample_fingerprint: str
    last_window: int
    tokenizer: str


NO_OBJECTIVES = KeptObjectives()


@dataclass(frozen=True)
class Judged:
    """What one driver achieved: from which checkpoint to which, and what the gate said."""

    resumed: Commit | None
    last: Commit | None
    workers: int
    seconds: float
    state: State = "ended"
    identity: Identity | None = None
    decision: Decision | None = None
    before: pa.Table | None = None
    after: pa.Table | None = None
    wanted: KeptObjectives = NO_OBJECTIVES

    @property
    def is_new(self) -> bool:
        """Was anything trained?"""
        return self.last is not None and (self.resumed is None or self.last.step > self.resumed.step)

    def with_identity(self, identity: Identity) -> "Judged":
        """The same with what identifies the result."""
        return replace(self, identity=identity)

    def with_decision(self, decision: Decision, before: pa.Table | None, after: pa.Table | None) -> "Judged":
        """The same with the gate's word and the per-document figures it saw."""
        return replace(self, decision=decision, before=before, after=after)


def summarise(
    name: str, engine: EngineConfig, events: list[Event], windows: list[Window], audit: Account, result: Judged
) -> Summary:
    """summary.json: how the run stands after this driver. windows: the committed ones, as a kill may lose events."""
    resumed, last, identity = result.resumed, result.last, result.identity
    steps = final_steps(events)
    mine = [s for s in steps if resumed is None or s.step > resumed.step]
    position = last.state.position if last else Position()
    return {
        "name": name,
        "steps": last.step if last else 0,
        "rounds": (last.round + bool(last.step_in_round)) if last else 0,
        "tokens": position.tokens,
        "documents": _documents(windows, audit),
        "ok": audit.ok,
        "lost": audit.lost,
        "repeated": audit.repeated,
        "waiting": audit.waiting,
        "abandoned": audit.abandoned,
        "gone": audit.gone,
        "untaken": audit.untaken,
        "loss": {"first": steps[0].loss if steps else None, "last": steps[-1].loss if steps else None},
        "bits_per_byte": _bits_per_byte(events, result),
        "measure": "bits/byte",
        "workers": result.workers,
        "zero_stage": engine.zero_stage,
        "seconds": round(result.seconds, 3),
        **_speed(engine.batch_tokens, mine),
        "from_event_s": chain_of([*mine, *(e for e in events if isinstance(e, CandidateJudged))]),
        "slo": kept_objectives(mine, result.wanted),
        "skipped_steps": len(position.skipped),
        "sample_fingerprint": identity.sample_fingerprint if identity else None,
        "weights_sha256": identity.weights_sha256 if identity else None,
        "tokenizer": identity.tokenizer if identity else None,
        "resumed_from": resumed.step if resumed else None,
        "checkpoint": identity.checkpoint if identity else last.name if last else None,
        **_verdict(events, result),
        "state": result.state,
    }


def _verdict(events: list[Event], result: Judged) -> Word:
    """What the gate said at the end, or last of a run that goes on some day."""
    heard = [event for event in events if isinstance(event, CandidateJudged)]
    if result.decision is not None:
        word, promoted, reasons = result.decision.verdict, result.decision.promoted, result.decision.reasons
        return {"promoted": promoted, "verdict": word, "reasons": reasons}
    if result.state == "ended" or not heard:
        return {"promoted": False, "verdict": None, "reasons": [NOT_JUDGED[result.state]]}
    return {"promoted": heard[-1].promoted, "verdict": heard[-1].verdict or None, "reasons": list(heard[-1].reasons)}


def _documents(windows: list[Window], audit: Account) -> dict[str, int | dict[str, int]]:
    dropped: Counter[str] = Counter()
    for window in windows:
        if isinstance(reasons := (window.counts or {}).get("dropped"), dict):
            dropped.update(reasons)
    names = ("read", "trained", "pending", "held_out", "shed", "quarantined", "forgotten", "skipped")
    kept = audit.trained + audit.pending + audit.shed + audit.skipped
    return {**{name: getattr(audit, name) for name in names}, "kept": kept, "dropped": dict(dropped)}


def _bits_per_byte(events: list[Event], result: Judged) -> dict[str, dict[str, float | None]]:
    """Before (the champion, or the untrained model) and after, per slice; without a verdict the last evaluation."""
    if result.before is not None and result.after is not None:
        before = by_slice(result.before)
        return {
            name: {"before": before.get(name, {}).get("bits_per_byte"), "after": found["bits_per_byte"]}
            for name, found in by_slice(result.after).items()
        }
    last = next((event.slices for event in reversed(events) if isinstance(event, Evaluated)), {})
    return {name: {"before": None, "after": found["bits_per_byte"]} for name, found in last.items()}


def _speed(batch_tokens: int, steps: list[StepDone]) -> Speed:
    """Tokens/s over the steps alone, the share of it spent waiting for rows, and freshness."""
    busy = sum(s.seconds for s in steps)
    freshness = [f for s in steps for f in s.freshness_s]
    p50, p95 = np.quantile(freshness, [0.5, 0.95]).tolist() if freshness else (None, None)
    return {
        "tokens_per_second": len(steps) * batch_tokens / busy if busy else None,
        "data_wait_share": sum(s.data_wait_s for s in steps) / busy if busy else None,
        "freshness_s": {"p50": p50, "p95": p95},
    }
