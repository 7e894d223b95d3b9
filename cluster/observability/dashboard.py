"""What does the Grafana dashboard show?

    python -m cluster.observability.dashboard > cluster/observability/dashboard.json

PANELS is the dashboard: rows of panels with a title, a unit and PromQL. The JSON that Grafana imports follows from
it, the same text at every call. `$run` is chosen in the dashboard; every query takes the maximum over Ray's process
labels, so that a driver that was started again does not count twice.
"""

import json
import sys
from typing import NamedTuple


class Panel(NamedTuple):
    """One picture: queries by legend; `help` says what to look for."""

    title: str
    unit: str
    queries: dict[str, str]
    help: str


def now(name: str, by: str = "run") -> str:
    """The value of a gauge."""
    return f'max by ({by}) (ray_headrace_{name}{{run=~"$run"}})'


def pace(name: str, by: str = "run", suffix: str = "_total") -> str:
    """The rate of a counter a second."""
    return f'max by ({by}) (rate(ray_headrace_{name}{suffix}{{run=~"$run"}}[5m]))'


def quantile(share: float, name: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share:g}, {pace(name, 'run, le', '_bucket')})"


PANELS: dict[str, list[Panel]] = {
    "Fresh": [
        Panel(
            "Freshness",
            "s",
            {"p50": now("freshness_p50_s"), "p95": now("freshness_p95_s")},
            "Age of documents, since they arrived, when the step with their last row is done.",
        ),
        Panel(
            "From the event",
            "s",
            {
                "to lake {{label}}": now("event_to_lake_s", "run, label"),
                "to gradient {{label}}": now("event_to_gradient_s", "run, label"),
                "to champion {{label}}": now("event_to_champion_s", "run, label"),
            },
            "Seconds from a document's own time, 95 % within, by source.",
        ),
        Panel(
            "Too late",
            "percentunit",
            {
                "{{label}}": f"{pace('slo_late_documents', 'run, label')} / {pace('slo_documents', 'run, label')}",
                "allowed of {{label}}": now("slo_allowed_share", "run, label"),
            },
            "Share of the documents that were trained later than slo.freshness asks, and the share that may be.",
        ),
        Panel(
            "Lag",
            "short",
            {"windows": now("backlog_windows"), "records of {{label}}": now("source_lag", "run, label")},
            "Windows that wait behind the round in training; records that a source holds behind the last window.",
        ),
        Panel(
            "Documents",
            "cps",
            {
                "read": pace("documents_read"),
                "kept": pace("documents_kept"),
                "held out": pace("documents_held_out"),
            },
            "What ingest takes in, a second.",
        ),
        Panel(
            "Dropped and quarantined",
            "cps",
            {
                "dropped {{label}}": pace("documents_dropped", "run, label"),
                "quarantined {{label}}": pace("documents_quarantined", "run, label"),
            },
            "By reason. A new reason, or a jump, is a producer that changed.",
        ),
        Panel(
            "Round",
            "short",
            {"fresh": now("fresh_tokens"), "replayed": now("replay_tokens")},
            "Tokens of the round in training.",
        ),
        Panel(
            "Window",
            "s",
            {"p50": quantile(0.5, "window_s"), "p95": quantile(0.95, "window_s")},
            "Seconds from opening a window to its commit.",
        ),
        Panel(
            "Drift",
            "short",
            {"{{label}}": now("drift_psi", "run, label"), "alarms": pace("drift_alarms")},
            "How far a source's last text is from all before it (PSI, nats), and alarms a second.",
        ),
    ],
    "Learning": [
        Panel(
            "Loss",
            "short",
            {
                "loss": now("loss"),
                "a candidate that decays": now("decay_loss"),
                "token {{label}}": now("ahead_loss", "run, label"),
            },
            "Of the global batch, nats a token.",
        ),
        Panel(
            "Held-out text",
            "short",
            {
                "{{label}}": now("bits_per_byte", "run, label"),
                "candidate {{label}}": now("candidate_bits_per_byte", "run, label"),
            },
            "Bits per byte by slice; the line without a name is all of it.",
        ),
        Panel(
            "Tasks",
            "short",
            {
                "candidate {{label}}": now("candidate_task", "run, label"),
                "champion {{label}}": now("champion_task", "run, label"),
            },
            "What both showed at the tasks of evaluate.tasks when the last candidate was judged.",
        ),
        Panel(
            "Gradient norm",
            "short",
            {"before clipping": now("grad_norm"), "skipped steps": now("skipped_steps_total")},
            "A norm that grows, or steps that are skipped: lower optim.lr.",
        ),
        Panel(
            "Learning rate", "sci", {"rate": now("learning_rate"), "decay": now("decay_learning_rate")}, "Of the step."
        ),
        Panel(
            "Verdicts",
            "short",
            {"promoted": now("promoted_total"), "refused": now("refused_total")},
            "What the gate said of candidates.",
        ),
        Panel(
            "Padding and context",
            "percentunit",
            {"padding": now("padding_share"), "context": now("context_share")},
            "Positions that hold no document, and those that are read and not learnt.",
        ),
    ],
    "Speed": [
        Panel(
            "Tokens a second",
            "short",
            {"of the last step": now("tokens_per_second"), "over five minutes": pace("tokens")},
            "The second is what is left after checkpoints, evaluation and restarts.",
        ),
        Panel("MFU", "percentunit", {"mfu": now("mfu")}, "Model FLOPs over the peak of the GPUs; on GPUs only."),
        Panel("Data wait", "percentunit", {"wait": now("data_wait_share")}, "Above 1 % the feed is too slow."),
        Panel("Step", "s", {"p50": quantile(0.5, "step_s"), "p95": quantile(0.95, "step_s")}, "Wall time of a step."),
    ],
    "Safe": [
        Panel(
            "Age of the last commit",
            "s",
            {"age": f"time() - {now('checkpoint_time_s')}"},
            "What a kill would lose. It should stay near checkpoint.every_seconds.",
        ),
        Panel(
            "Checkpoint",
            "s",
            {"stall p95": quantile(0.95, "checkpoint_stall_s"), "until committed p95": quantile(0.95, "checkpoint_s")},
            "How long training stands still, and how long the commit takes beside it.",
        ),
        Panel(
            "Goodput", "percentunit", {"goodput": now("goodput")}, "Share of time in steps that are in a checkpoint."
        ),
        Panel(
            "Workers and restarts",
            "short",
            {"workers": now("workers"), "restarts": now("restarts_total")},
            "Groups started again by this driver.",
        ),
        Panel("Recovery", "s", {"p95": quantile(0.95, "recovery_s")}, "From the last step before to the next one."),
        Panel("Checkpoint size", "bytes", {"size": now("checkpoint_bytes")}, "Of the last commit."),
    ],
}
WIDTH, HEIGHT, ACROSS = 8, 7, 24
SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> dict[str, object]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, object]] = []
    y = 0
    for title, row in PANELS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": ACROSS, "h": 1}, "panels": []})
        for number, panel in enumerate(row):
            at = divmod(number * WIDTH, ACROSS)
            panels.append(_panel(panel, {"x": at[1], "y": y + 1 + at[0] * HEIGHT, "w": WIDTH, "h": HEIGHT}))
        y += 1 + HEIGHT * -(-len(row) * WIDTH // ACROSS)
    for number, made in enumerate(panels, 1):
        made["id"] = number
    query = "label_values(ray_headrace_step_total, run)"
    return {
        "title": "Headrace",
        "uid": "headrace",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {"name": "run", "type": "query", "datasource": SOURCE, "query": query, "multi": True}
                | {"includeAll": True, "allValue": ".+", "refresh": 2, "current": {"text": "All", "value": "$__all"}},
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, object]:
    targets = [
        {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": query, "legendFormat": f"{{{{run}}}} {legend}"}
        for n, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
