"""What is gathered from store and lake for the report of a run?"""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.redaction import redact
from data_ops.curation.reasons import meaning_of
from data_ops.ingest.events import Warned, WindowDone
from data_ops.kernels.arrays import Ints
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from data_ops.sampling.shard import event_seconds
from data_ops.survey.corpus import blocks_of
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.decision import DecisionRow
from ray_jobs.evaluation.harness.result import Showing
from ray_jobs.report.charts.timeline import Moment
from ray_jobs.report.data import Ages, Evaluation, ReportData, Summary, Unreadable, WindowRow
from ray_jobs.report.losses import StageFigures, reason_order, stage_figures
from ray_jobs.training.events import (
    CandidateJudged,
    Committed,
    Evaluated,
    Event,
    Fault,
    RoundBegun,
    Started,
    StepSkipped,
    event_to_row,
    final_steps,
)

Floats = npt.NDArray[np.float64]
PACKAGES = ("headrace", "ray", "torch", "deepspeed", "pyarrow", "deltalake", "numpy")
HalfLives = Sequence[float | None]
AGE_BINS = 24
QUARANTINE_SHOWN = 12


def gather(
    config: Config,
    lake: Lake,
    events: list[Event],
    summary: Summary,
    decision: DecisionRow | None,
    tasks: Sequence[Showing] = (),
) -> ReportData:
    """Everything the report draws. tasks: what champions and the candidate showed at them."""
    windows = {e.window: _window(e) for e in events if isinstance(e, WindowDone)}
    steps = final_steps(events)
    scored = (e for e in events if isinstance(e, Evaluated) and not e.branch)
    evaluations: dict[int, Evaluation] = {
        e.step: {"step": e.step, "round": e.round, "slices": e.slices} for e in scored
    }
    return ReportData(
        summary=summary,
        config=redact(config.model_dump(mode="json")),
        metrics=[{**event_to_row(s), "data_wait_share": s.data_wait_s / max(s.seconds, 1e-9)} for s in steps],
        evaluations=[evaluations[n] for n in sorted(evaluations)],
        decision=decision,
        tasks=tasks,
        ages=ages(lake, config.name, config.reservoir.half_lives_s, summary["rounds"]),
        windows=[windows[n] for n in sorted(windows)],
        quarantine=_quarantine(lake),
        losses=_losses(lake, config),
        freshness_s=[f for s in steps for f in s.freshness_s],
        events=[moment for event in events if (moment := _moment(event)) is not None],
        versions={name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
    )


def ages(lake: Lake, run: str, half_lives_s: HalfLives, num_rounds: int) -> Ages:
    """How old, by event time against the newest document, the trained text is; fresh and replayed, and the ideal.

    num_rounds: those that training has begun, for the next is planned ahead.
    """
    table = lake.rounds(run)
    manifests = [Manifest.from_row(table, i) for i in range(min(table.num_rows, num_rounds))]
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
    ideal = _ideal(half_lives_s, manifests, log["window"].to_numpy(), times, days, edges)
    return {
        "edges_days": edges.tolist(),
        "fresh": counted["fresh"],
        "replay": counted["replay"],
        "ideal": ideal,
        "sources": sources,
    }


def _ideal(
    half_lives_s: HalfLives,
    manifests: list[Manifest],
    windows: Ints,
    times_s: Floats,
    days: Floats,
    edges: Floats,
) -> list[float] | None:
    """Replay as exact decay would have it: in each round every earlier document, weighted by 2^(-age/half-life).

    Several half-lives count alike. The reservoir's capacity is not modelled.
    """
    total = np.zeros(len(edges) - 1)
    for manifest in manifests:
        at = min(manifest.fresh.windows.tolist(), default=manifest.end.window)
        earlier = windows < (at if manifest.mix is None else manifest.mix.window + 1)  # as if every source were there
        if not len(manifest.replay) or not earlier.any():
            continue
        ages_s = times_s[earlier].max() - times_s[earlier]
        for half_life in half_lives_s:
            weight = np.ones(len(ages_s)) if half_life is None else np.exp2(-ages_s / half_life)
            counts = np.histogram(days[earlier], edges, weights=weight)[0]
            total += counts * len(manifest.replay) / counts.sum() / len(half_lives_s)
    return total.tolist() if total.any() else None


def _labels(log: pa.Table, index: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    return np.asarray(log["source"].take(pa.array(index)).to_pylist(), dtype=object)


def _window(done: WindowDone) -> WindowRow:
    return {
        "window": done.window,
        "seconds": done.seconds,
        "read": done.read,
        "kept": done.kept,
        "held_out": done.held_out,
        "quarantined": done.quarantined,
        "dropped": done.dropped,
    }


def _quarantine(lake: Lake) -> list[Unreadable]:
    columns = ["source", "partition", "offset", "reason", "text"]
    rows = lake.documents(0, lake.last_window(), columns, ["quarantined"]).slice(0, QUARANTINE_SHOWN).to_pylist()
    return [
        {
            "place": f"{r['source']}: {r['partition']}:{r['offset']}",
            "reason": f"{r['reason']}: {meaning_of(r['reason'])}",
            "sample": r["text"],
        }
        for r in rows
    ]


def _losses(lake: Lake, config: Config) -> list[StageFigures]:
    blocks, num_blocks = blocks_of(lake)
    return stage_figures(blocks, blocks, num_blocks, reason_order(config.curate))


def _moment(event: Event) -> Moment | None:
    """What the time line shows of an event, None if it shows nothing."""
    match event:
        case Committed():
            kind, text = "checkpoint", f"step {event.step}"
        case StepSkipped():
            kind, text = "skip", f"step {event.step} skipped: {event.text}"
        case Fault():
            kind, text = "fault", event.text
        case RoundBegun(drifted=told) if told:
            kind, text = "note", "; ".join(told)
        case Warned():
            kind, text = "note", event.text
        case Started():
            kind, text = "start", event.text
        case CandidateJudged():
            kind, text = "promote", f"checkpoint {event.step} judged"
        case _:
            return None
    return Moment(event.time, kind, text)


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "not installed"
