"""Which metrics does an event of a run change, and to what?

`Meter.read(event)` gives the metrics under the names of cluster.telemetry.metrics.METRICS. Most stand in the event;
totals, goodput, recovery and the like follow from those before it, which is why a meter has a memory. Documents are
counted from the lake's windows, so that the totals are those of the store however often a driver was restarted; what
counts failures counts those of this driver. Pure: it reads events, nothing else.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from cluster.telemetry.metrics import METRICS
from data_ops.curation.reasons import reasons
from data_ops.ingest.events import WindowDone
from data_ops.lake.window import Window
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.position import Position
from ray_jobs.training.events import (
    CandidateJudged,
    Committed,
    Evaluated,
    Event,
    RoundBegun,
    SnapshotTaken,
    Started,
    StepDone,
    event_kind,
)

MetricRow = dict[str, object]  # metrics by name, and `event`
COUNTED = ("read", "kept", "held_out")
BY_REASON = {"dropped": "dropped", "quarantined": "quarantined_by"}
LABELLED = {fate: f"documents_{fate}" for fate in BY_REASON}  # metrics that are counted by reason


class FreshnessObjective(NamedTuple):
    """Within how many seconds text has to be trained, by source, and which share of it may be late."""

    within_s: Mapping[str, float]
    late: float


NO_OBJECTIVE = FreshnessObjective({}, 0.0)


class Meter:
    """The metrics of one driver of a run, in the order in which its events come."""

    def __init__(
        self,
        batch_tokens: int,
        batch_rows: int,
        windows: Iterable[Window] = (),
        began_s: float | None = None,
        slo: FreshnessObjective = NO_OBJECTIVE,
    ) -> None:
        """batch_*: of a step, over all workers. windows: those committed before; began_s: unix time, absent: now."""
        self.slo = slo
        self.judged = {label: [0, 0] for label in slo.within_s}  # documents by which it is judged, those that were late
        self.batch_tokens, self.batch_rows = batch_tokens, batch_rows
        self.began_s = time.time() if began_s is None else began_s
        self.totals: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self.last_window = -1
        for window in windows:
            self._count(window.window, window.counts or {})
        self.round_window = -1  # where the round in training ends
        self.starts = 0
        self.last_step_s: float | None = None
        self.recovering_since: float | None = None
        self.uncommitted: dict[int, float] = {}  # step -> its seconds; a step done again replaces the one that was lost
        self.useful_s = 0.0
        self.snapshots: dict[int, float] = {}  # step -> when its state was copied
        self.early: dict[int, float] = {}  # step -> when it was committed, where that is told before its snapshot

    def begin(self, resumed: Commit | None) -> MetricRow:
        """Where every counter stands when the driver starts, so that the first event of its kind is an increase."""
        position = resumed.state.position if resumed else Position()
        row: MetricRow = {name: 0 for name, metric in METRICS.items() if metric.kind == "counter"}
        del row["slo_documents"], row["slo_late_documents"]  # of a source each
        row |= self._slo()
        for fate, metric in LABELLED.items():
            del row[metric]
            row |= {f"{metric}/{name}": 0 for name, reason in reasons().items() if reason.fate == fate}
        row |= {"step": position.step, "round": position.round, "tokens": position.tokens}
        row |= {"rows": position.step * self.batch_rows, "skipped_steps": len(position.skipped)}
        return {**row, "window": self.last_window + 1, **self._documents()}

    def read(self, event: Event) -> list[MetricRow]:
        """The metrics of one event, in a list that is empty where it has none."""
        match event:
            case StepDone():
                row = self._step(event)
            case Started():
                row = self._started(event)
            case SnapshotTaken():
                row = self._snapshot(event)
            case Committed():
                row = self._commit(event)
            case WindowDone():
                row = self._window(event)
            case RoundBegun():
                row = self._round(event)
            case Evaluated():
                row = _evaluation(event)
            case CandidateJudged():
                row = _judged(event)
            case _:
                return []
        return [{"event": event_kind(event), **row}] if row else []

    def _step(self, event: StepDone) -> MetricRow:
        if event.branch:  # it has steps of its own, which the main line will take again
            return {"decay_loss": event.loss, "decay_learning_rate": event.learning_rate}
        names = ("step", "round", "tokens", "loss", "grad_norm", "learning_rate", "tokens_per_second", "skipped_steps")
        row: MetricRow = {name: getattr(event, name) for name in names}
        row["rows"] = event.step * self.batch_rows
        row["step_s"] = event.seconds
        row["data_wait_share"] = event.data_wait_s / max(event.seconds, 1e-9)
        positions = max(event.positions, event.predictions)  # of an older version only the second is known
        row["padding_share"] = 1 - positions / self.batch_tokens
        row["context_share"] = (positions - event.predictions) / self.batch_tokens
        row |= {f"ahead_loss/{ahead}": loss for ahead, loss in enumerate(event.ahead_losses, 2)}
        if event.mfu is not None:
            row["mfu"] = event.mfu
        if event.freshness_s:
            row["freshness_p50_s"], row["freshness_p95_s"] = np.quantile(event.freshness_s, [0.5, 0.95]).tolist()
        row |= _p95("event_to_lake_s", event.to_lake_s) | _p95("event_to_gradient_s", event.to_gradient_s)
        row |= self._slo(event)
        if self.recovering_since is not None:
            row["recovery_s"] = max(0.0, event.time - self.recovering_since)
        self.recovering_since, self.last_step_s = None, event.time
        self.uncommitted[event.step] = event.seconds
        return row

    def _slo(self, event: StepDone | None = None) -> MetricRow:
        """Count what is judged by an objective: all documents of a step, or the quantiles that it tells of many."""
        row: MetricRow = {}
        for label, counts in self.judged.items():
            seconds = event.to_gradient_s.get(label, ()) if event else ()
            counts[0] += len(seconds)
            counts[1] += sum(each > self.slo.within_s[label] for each in seconds)
            row |= {f"slo_documents/{label}": counts[0], f"slo_late_documents/{label}": counts[1]}
            row[f"slo_allowed_share/{label}"] = self.slo.late
        return row

    def _started(self, event: Started) -> MetricRow:
        self.starts += 1
        if self.starts > 1:
            self.recovering_since = self.last_step_s
        begun = {"workers": event.workers, "restarts": self.starts - 1, "window": self.last_window + 1}
        return {**begun, **self._documents()}  # a store that was taken in before tells no window

    def _snapshot(self, event: SnapshotTaken) -> MetricRow:
        """Its commit comes from another process, and may be told first."""
        self.snapshots[event.step] = event.time
        row: MetricRow = {"checkpoint_stall_s": event.checkpoint_stall_s}
        if event.step in self.early:
            row["checkpoint_s"] = max(0.0, self.early.pop(event.step) - event.time)
        return row

    def _commit(self, event: Committed) -> MetricRow:
        if event.branch:
            return {}
        row: MetricRow = {"checkpoint_step": event.step, "checkpoint_bytes": event.size_bytes}
        row["checkpoint_time_s"] = event.time
        if event.step in self.snapshots:
            row["checkpoint_s"] = max(0.0, event.time - self.snapshots[event.step])
        else:
            self.early = {event.step: event.time}
        self.snapshots = {step: s for step, s in self.snapshots.items() if step > event.step}
        self.useful_s += sum(self.uncommitted.pop(step) for step in [*self.uncommitted] if step <= event.step)
        row["goodput"] = min(1.0, self.useful_s / max(event.time - self.began_s, 1e-9))
        return row

    def _window(self, event: WindowDone) -> MetricRow:
        self._count(event.window, {name: getattr(event, name) for name in (*COUNTED, *BY_REASON.values())})
        behind: MetricRow = {f"source_lag/{label}": count for label, count in event.behind.items()}
        behind["backlog_windows"] = self.last_window - self.round_window
        return {"window": self.last_window + 1, "window_s": event.seconds, **behind, **self._documents()}

    def _documents(self) -> MetricRow:
        return {f"documents_{name}": total for name, total in self.totals.items()}

    def _count(self, number: int, counts: Mapping[str, Any]) -> None:
        """Add a window's counts, once: a restarted ingest tells of its last window again."""
        if number <= self.last_window:
            return
        self.last_window = number
        self.totals.update({name: counts.get(name, 0) for name in COUNTED})
        for name, field in BY_REASON.items():
            self.totals.update({f"{name}/{reason}": count for reason, count in counts.get(field, {}).items()})

    def _round(self, event: RoundBegun) -> MetricRow:
        self.round_window = max(self.round_window, event.last_window)
        total = max(1, event.fresh_tokens + event.replay_tokens)
        row: MetricRow = {name: getattr(event, name) for name in ("round", "fresh_tokens", "replay_tokens")}
        row["backlog_windows"] = max(0, self.last_window - self.round_window)
        row |= {f"drift_psi/{source}": psi for source, psi in event.drift.items()}
        row |= {"drift_alarms": event.drift_alarms} if event.drift_alarms else {}
        return {**row, "replay_share": event.replay_tokens / total}


def _judged(event: CandidateJudged) -> MetricRow:
    """What was promoted or refused; nothing where nothing was asked."""
    word = "promoted" if event.promoted else event.verdict or "refused"
    if word not in ("promoted", "refused"):
        return {}
    shown = {f"champion_task/{task}": before for task, (before, _) in event.tasks.items()}
    shown |= {f"candidate_task/{task}": after for task, (_, after) in event.tasks.items()}
    return {word: 1, **_p95("event_to_champion_s", event.to_champion_s), **shown}


def _p95(metric: str, seconds: Mapping[str, tuple[float, ...]]) -> MetricRow:
    """The 95 % quantile of each source."""
    return {f"{metric}/{source}": float(np.quantile(given, 0.95)) for source, given in seconds.items() if given}


def _evaluation(event: Evaluated) -> MetricRow:
    """Bits per byte of each slice, and of all text, in which slices weigh by their bytes."""
    metric = "candidate_bits_per_byte" if event.branch else "bits_per_byte"
    slices = {f"{metric}/{name}": found["bits_per_byte"] for name, found in event.slices.items()}
    sizes = [(found["bits_per_byte"] or 0.0, found["bytes"] or 0) for found in event.slices.values()]
    bits, total = sum(bits * size for bits, size in sizes), sum(size for _, size in sizes)
    place = {} if event.branch else {"step": event.step}
    return {**place, metric: bits / max(1, total), **slices}
