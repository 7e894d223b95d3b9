"""What is measured? The one table of every metric's name, unit and kind; docs/metrics.md is made from it."""

import difflib
from collections.abc import Mapping
from typing import Literal, NamedTuple

FIELDS = ("event", "time", "message")


class Metric(NamedTuple):
    """A gauge is a value now, a counter a total that only rises, a histogram one observation of many."""

    unit: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str


METRICS = {
    "step": Metric("steps", "counter", "Optimizer steps of the run."),
    "round": Metric("rounds", "counter", "Rounds begun."),
    "window": Metric("windows", "counter", "Windows committed in the store."),
    "tokens": Metric("tokens", "counter", "Tokens trained."),
    "rows": Metric("rows", "counter", "Packed rows trained."),
    "loss": Metric("nats/token", "gauge", "Training loss of the global batch."),
    "ahead_loss": Metric(
        "nats/token", "gauge", "Training loss of further tokens, by how far ahead; the next one is 1."
    ),
    "learning_rate": Metric("1", "gauge", "Learning rate of the step."),
    "decay_loss": Metric("nats/token", "gauge", "Training loss of the candidate that decays now."),
    "decay_learning_rate": Metric("1", "gauge", "Learning rate of the candidate that decays now."),
    "grad_norm": Metric("1", "gauge", "Gradient norm before clipping."),
    "skipped_steps": Metric("steps", "counter", "Steps skipped for a loss or gradient that is not finite."),
    "step_s": Metric("s", "histogram", "Wall time of a step."),
    "tokens_per_second": Metric("tokens/s", "gauge", "Tokens trained a second, over all workers."),
    "mfu": Metric("share", "gauge", "Model FLOPs, attention counted, over the peak of the GPUs."),
    "data_wait_share": Metric("share", "gauge", "Share of the time that workers waited for rows."),
    "goodput": Metric("share", "gauge", "Share of the driver's time in steps that are in a checkpoint."),
    "padding_share": Metric("share", "gauge", "Positions of packed rows that hold no document."),
    "context_share": Metric("share", "gauge", "Positions that are read and not learnt, as questions of conversations."),
    "workers": Metric("workers", "gauge", "Workers of the group."),
    "restarts": Metric("restarts", "counter", "Worker groups started again by this driver."),
    "recovery_s": Metric("s", "histogram", "Seconds from the last step before a failure to the next one."),
    "checkpoint_stall_s": Metric("s", "histogram", "Seconds training stood still for a checkpoint."),
    "checkpoint_s": Metric("s", "histogram", "Seconds from the snapshot to the committed manifest."),
    "checkpoint_bytes": Metric("bytes", "gauge", "Size of the last committed checkpoint."),
    "checkpoint_step": Metric("steps", "gauge", "Step of the last committed checkpoint."),
    "checkpoint_time_s": Metric("s", "gauge", "Unix time of the last committed checkpoint."),
    "freshness_p50_s": Metric("s", "gauge", "Median age of the documents a step is done with, since they arrived."),
    "freshness_p95_s": Metric("s", "gauge", "Age that 5 % of the documents a step is done with exceed."),
    "event_to_lake_s": Metric("s", "gauge", "From a document's own time to its arrival, p95 of a step, by source."),
    "event_to_gradient_s": Metric("s", "gauge", "From a document's own time to its first gradient, p95, by source."),
    "event_to_champion_s": Metric("s", "gauge", "From its own time to the champion that has seen it, p95, by source."),
    "slo_documents": Metric("documents", "counter", "Documents by which slo.freshness is judged, by source."),
    "slo_late_documents": Metric("documents", "counter", "Those of them that were trained too late, by source."),
    "slo_allowed_share": Metric("share", "gauge", "Share of them that may be late, by source."),
    "documents_read": Metric(
        "documents", "counter", "Records read into the store; kept + held out + dropped + quarantined."
    ),
    "documents_kept": Metric("documents", "counter", "Documents kept for training."),
    "documents_held_out": Metric("documents", "counter", "Documents held out for evaluation."),
    "documents_dropped": Metric("documents", "counter", "Documents dropped, by reason."),
    "documents_quarantined": Metric("documents", "counter", "Records that could not be read, by reason."),
    "window_s": Metric("s", "histogram", "Seconds from opening a window to its commit in the lake."),
    "source_lag": Metric("records", "gauge", "Records that a source holds behind the last window, by source."),
    "backlog_windows": Metric("windows", "gauge", "Committed windows behind the end of the round in training."),
    "replay_share": Metric("share", "gauge", "Replayed tokens of a round."),
    "drift_psi": Metric("nats", "gauge", "How far a source's last text is from all before (PSI of ranks), by source."),
    "drift_alarms": Metric("alarms", "counter", "How often the text of a source was found to have changed."),
    "fresh_tokens": Metric("tokens", "gauge", "Fresh tokens of a round."),
    "replay_tokens": Metric("tokens", "gauge", "Replayed tokens of a round."),
    "bits_per_byte": Metric("bits/byte", "gauge", "Held-out loss, by slice; without a label of all of them."),
    "candidate_bits_per_byte": Metric("bits/byte", "gauge", "Held-out loss of the last candidate, by slice."),
    "candidate_task": Metric("score", "gauge", "What the last candidate showed at a task, in the task's own unit."),
    "champion_task": Metric("score", "gauge", "What the champion showed at it then."),
    "promoted": Metric("checkpoints", "counter", "Checkpoints promoted to champion."),
    "refused": Metric("checkpoints", "counter", "Checkpoints the gate refused."),
}


SUFFIXES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def prometheus_names(name: str) -> list[str]:
    """Return the names under which Prometheus sees a metric.

    >>> prometheus_names("step"), prometheus_names("loss")
    (['ray_headrace_step_total'], ['ray_headrace_loss'])
    """
    return [f"ray_headrace_{name}{suffix}" for suffix in SUFFIXES[METRICS[name].kind]]


def check_names(event: Mapping[str, object]) -> None:
    """Raise ValueError if an event has a name that METRICS does not know."""
    for name in event:
        if name.split("/")[0] not in METRICS and name not in FIELDS:
            near = difflib.get_close_matches(name.split("/")[0], METRICS, n=1)
            advice = f"did you mean {near[0]}?" if near else "add it to cluster.telemetry.metrics.METRICS"
            raise ValueError(f"metric {name!r} is unknown; {advice}")
