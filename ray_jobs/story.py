"""What is there to say about a run, in figures and in pictures?

Everything is computed from what was written down: the run's events, the lake's tables and the audit. `summarise` gives
summary.json, `tell` what the report draws.
"""

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage import Store
from cluster.tracking import redact
from data_ops.account import Account
from data_ops.lake import Lake
from data_ops.rounds import Manifest
from data_ops.shard import event_seconds
from data_ops.windows import Window
from ray_jobs.commit import Commit, run_path
from ray_jobs.config import Config
from ray_jobs.evaluate import by_slice
from ray_jobs.gate import Decision
from ray_jobs.report import ReportData

Event = dict[str, Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PACKAGES = ("headrace", "ray", "torch", "deepspeed", "pyarrow", "deltalake", "numpy")
AGE_BINS = 24
QUARANTINE_SHOWN = 12


def final_steps(events: list[Event]) -> list[Event]:
    """The step events that are in the weights: of a step trained again after a restart, the last one."""
    steps = {event["step"]: event for event in events if event["event"] == "step" and not event["branch"]}
    return [steps[n] for n in sorted(steps)]


@dataclass(frozen=True)
class Judged:
    """What one driver achieved: from which checkpoint to which, and what the gate said."""

    resumed: Commit | None
    last: Commit | None
    workers: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    before: pa.Table | None = None
    after: pa.Table | None = None

    @property
    def is_new(self) -> bool:
        """Was anything trained?"""
        return self.last is not None and (self.resumed is None or self.last.step > self.resumed.step)

    def with_details(self, details: dict[str, Any]) -> "Judged":
        """The same with what identifies the result."""
        return replace(self, details=details)

    def with_decision(self, decision: Decision, before: pa.Table, after: pa.Table) -> "Judged":
        """The same with the gate's word and the per-document figures it saw."""
        return replace(self, decision=decision, before=before, after=after)


def verdict_events(last: Commit, decision: Decision, before: pa.Table, resumed: Commit | None) -> list[Event]:
    """The verdict, and in a run's first one the untrained model's figures, as events."""
    told = [{"event": "judged", "time": time.time(), "step": last.step, "promoted": decision.promoted}]
    if resumed is None:
        told.append({"event": "evaluation", "time": time.time(), "step": 0, "round": 0, "slices": by_slice(before)})
    return told


def read_events(store: Store, run: str) -> list[Event]:
    """All events of a run, over all its drivers; a line torn by a kill is passed over."""
    path = run_path(run, "metrics.jsonl")
    raw = store.read(path).decode() if store.exists(path) else ""
    return [json.loads(line) for line in raw.splitlines() if line.startswith("{") and line.endswith("}")]


def summarise(
    config: Config, events: list[Event], windows: list[Window], audit: Account, result: Judged
) -> dict[str, Any]:
    """summary.json: how the run stands after this driver. windows: the committed ones, for a kill may lose events."""
    resumed, last, decision = result.resumed, result.last, result.decision
    steps = final_steps(events)
    mine = [s for s in steps if resumed is None or s["step"] > resumed.step]
    position: dict[str, Any] = last.state["position"] if last else {"tokens": 0, "skipped": []}
    return {
        "name": config.name,
        "steps": last.step if last else 0,
        "rounds": (last.round + bool(last.step_in_round)) if last else 0,
        "tokens": position["tokens"],
        "documents": _documents(windows, audit),
        "ok": audit.ok,
        "lost": audit.lost,
        "repeated": audit.repeated,
        "loss": {"first": steps[0]["loss"] if steps else None, "last": steps[-1]["loss"] if steps else None},
        "bits_per_byte": _bits_per_byte(events, result),
        "workers": result.workers,
        "zero_stage": config.engine.zero_stage,
        "seconds": round(result.seconds, 3),
        **_speed(config, mine),
        "skipped_steps": len(position["skipped"]),
        "sample_fingerprint": result.details.get("sample_fingerprint"),
        "weights_sha256": result.details.get("weights_sha256"),
        "tokenizer": result.details.get("tokenizer"),
        "resumed_from": resumed.step if resumed else None,
        "checkpoint": result.details.get("checkpoint", last.name if last else None),
        "promoted": decision.promoted if decision else False,
        "reasons": decision.reasons if decision else ["nothing new was trained to the end, so nothing was judged"],
    }


def _documents(windows: list[Window], audit: Account) -> dict[str, Any]:
    dropped: Counter[str] = Counter()
    for window in windows:
        dropped.update((window.counts or {})["dropped"])
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
    last: dict[str, Any] = next((e["slices"] for e in reversed(events) if e["event"] == "evaluation"), {})
    return {name: {"before": None, "after": found["bits_per_byte"]} for name, found in last.items()}


def _speed(config: Config, steps: list[Event]) -> dict[str, Any]:
    """Tokens/s over the steps alone, the share of it spent waiting for rows, and freshness."""
    busy = sum(s["seconds"] for s in steps)
    freshness = [f for s in steps for f in s["freshness_s"]]
    p50, p95 = np.quantile(freshness, [0.5, 0.95]).tolist() if freshness else (None, None)
    return {
        "tokens_per_second": len(steps) * config.engine.batch_tokens / busy if busy else 0.0,
        "data_wait_share": sum(s["data_wait_s"] for s in steps) / busy if busy else 0.0,
        "freshness_s": {"p50": p50, "p95": p95},
    }


def tell(
    config: Config, lake: Lake, events: list[Event], summary: dict[str, Any], decision: dict[str, Any] | None
) -> ReportData:
    """Everything the report draws."""
    windows = {e["window"]: e for e in events if e["event"] == "window"}
    steps = final_steps(events)
    evaluations = {e["step"]: e for e in events if e["event"] == "evaluation" and not e.get("branch")}
    return ReportData(
        summary=summary,
        config=redact(config.model_dump(mode="json")),
        metrics=[{**s, "data_wait_share": s["data_wait_s"] / max(s["seconds"], 1e-9)} for s in steps],
        evaluations=[evaluations[n] for n in sorted(evaluations)],
        decision=decision,
        ages=ages(config, lake),
        windows=[windows[n] for n in sorted(windows)],
        quarantine=_quarantine(lake),
        freshness_s=[f for s in steps for f in s["freshness_s"]],
        events=[_line(e) for e in events if e["event"] in TIMELINE],
        versions={name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
    )


TIMELINE = {
    "commit": ("checkpoint", "step {step}"),
    "skip": ("skip", "step {step} skipped: {text}"),
    "warning": ("fault", "{text}"),
    "fault": ("fault", "{text}"),
    "started": ("start", "{text}"),
    "judged": ("promote", "checkpoint {step} judged"),
}


def ages(config: Config, lake: Lake) -> dict[str, Any]:
    """How old, by event time against the newest document, the trained text is; fresh and replayed, and the ideal."""
    table = lake.rounds(config.name)
    manifests = [Manifest.from_row(table, i) for i in range(table.num_rows)]
    if not manifests:
        return {}
    log = lake.documents(0, lake.last_window(), ["window", "position", "event_time", "source"], ["kept", "forgotten"])
    keys = (log["window"].to_numpy() << 32) | log["position"].to_numpy()
    times = event_seconds(log["event_time"])
    days = (times.max() - times) / 86400
    parts = {}
    for name in ("fresh", "replay"):
        documents = [getattr(m, name) for m in manifests]
        wanted = np.concatenate([(d.windows << 32) | d.positions for d in documents])
        parts[name] = np.searchsorted(keys, wanted)
    edges = np.linspace(0, max(float(days.max()), 1e-3) * 1.0001, AGE_BINS + 1)
    counted = {name: np.histogram(days[index], edges)[0].tolist() for name, index in parts.items()}
    sources = {
        label: {name: int(np.sum(_labels(log, index) == label)) for name, index in parts.items()}
        for label in pc.unique(log["source"]).to_pylist()
    }
    ideal = _ideal(config, manifests, log["window"].to_numpy(), times, days, edges)
    return {"edges_days": edges.tolist(), **counted, "ideal": ideal, "sources": sources}


def _ideal(
    config: Config, manifests: list[Manifest], windows: Ints, times_s: Floats, days: Floats, edges: Floats
) -> list[float] | None:
    """Replay as exact decay would have it: in each round every earlier document, weighted by 2^(-age/half-life).

    Several half-lives count alike. The reservoir's capacity is not modelled.
    """
    total = np.zeros(len(edges) - 1)
    for manifest in manifests:
        earlier = windows < (int(manifest.fresh.windows[0]) if len(manifest.fresh) else manifest.end.window)
        if not len(manifest.replay) or not earlier.any():
            continue
        ages_s = times_s[earlier].max() - times_s[earlier]
        for half_life in config.reservoir.half_lives_s:
            weight = np.ones(len(ages_s)) if half_life is None else np.exp2(-ages_s / half_life)
            counts = np.histogram(days[earlier], edges, weights=weight)[0]
            total += counts * len(manifest.replay) / counts.sum() / len(config.reservoir.half_lives_s)
    return total.tolist() if total.any() else None


def _labels(log: pa.Table, index: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    return np.asarray(log["source"].take(pa.array(index)).to_pylist(), dtype=object)


def _quarantine(lake: Lake) -> list[dict[str, Any]]:
    columns = ["source", "partition", "offset", "reason", "text"]
    rows = lake.documents(0, lake.last_window(), columns, ["quarantined"]).slice(0, QUARANTINE_SHOWN).to_pylist()
    return [
        {"place": f"{r['source']}: {r['partition']}:{r['offset']}", "reason": r["reason"], "sample": r["text"]}
        for r in rows
    ]


def _line(event: Event) -> dict[str, Any]:
    kind, text = TIMELINE[event["event"]]
    return {"time": event["time"], "kind": kind, "text": text.format(**event)}


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "not installed"
