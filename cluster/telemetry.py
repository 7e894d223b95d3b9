"""What is measured, in which unit, and where does it go?

`METRICS` is the one table of names behind metrics.jsonl, W&B, Prometheus and the docs; another name is an
error. `Telemetry.log` hands one event to every sink: metrics.jsonl always, W&B (tracking.py), TensorBoard and
Prometheus if asked for. A bucket cannot append, so there a thread rewrites the file now and then; a crash loses the
lines since.
"""

import difflib
import logging
import sys
import threading
import time
import warnings
from typing import Any, Literal, NamedTuple, Protocol

import orjson
from pydantic import Field

from cluster.storage import Store
from cluster.tracking import Champion
from cluster.units import Duration, Settings

logger = logging.getLogger(__name__)

OUR_PACKAGES = ("cluster", "data_ops", "models", "tune", "ray_jobs")
LONGEST_PAUSE = 10  # times flush_every, between two writes of metrics.jsonl to a bucket
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
    "learning_rate": Metric("1", "gauge", "Learning rate of the step."),
    "grad_norm": Metric("1", "gauge", "Gradient norm before clipping."),
    "skipped_steps": Metric("steps", "counter", "Steps skipped for a loss or gradient that is not finite."),
    "step_s": Metric("s", "histogram", "Wall time of a step."),
    "tokens_per_second": Metric("tokens/s", "gauge", "Tokens trained a second, over all workers."),
    "mfu": Metric("share", "gauge", "Model FLOPs, attention counted, over the peak of the GPUs."),
    "data_wait_share": Metric("share", "gauge", "Share of the time that workers waited for rows."),
    "goodput": Metric("share", "gauge", "Share of the driver's time in steps that are in a checkpoint."),
    "padding_share": Metric("share", "gauge", "Positions of packed rows that hold no document."),
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
    "documents_read": Metric(
        "documents", "counter", "Records read into the store; kept + held out + dropped + quarantined."
    ),
    "documents_kept": Metric("documents", "counter", "Documents kept for training."),
    "documents_held_out": Metric("documents", "counter", "Documents held out for evaluation."),
    "documents_dropped": Metric("documents", "counter", "Documents dropped, by reason."),
    "documents_quarantined": Metric("documents", "counter", "Records that could not be read, by reason."),
    "window_s": Metric("s", "histogram", "Seconds from opening a window to its commit in the lake."),
    "backlog_windows": Metric("windows", "gauge", "Committed windows behind the end of the round in training."),
    "replay_share": Metric("share", "gauge", "Replayed tokens of a round."),
    "fresh_tokens": Metric("tokens", "gauge", "Fresh tokens of a round."),
    "replay_tokens": Metric("tokens", "gauge", "Replayed tokens of a round."),
    "bits_per_byte": Metric("bits/byte", "gauge", "Held-out loss, by slice; without a label of all of them."),
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


class TelemetryConfig(Settings):
    """Where metrics go beside metrics.jsonl and W&B."""

    tensorboard: bool = Field(False, description="Write TensorBoard's event files into the run's folder.")
    prometheus: bool = Field(False, description="Export every metric through Ray's Prometheus endpoint.")
    flush_every: Duration = Field(30.0, gt=0, description="Seconds between writes of metrics.jsonl to a bucket.")
    json_logs: bool = Field(False, description="Write log lines as JSON objects.")


class Sink(Protocol):
    """Where events go; `log` never blocks for long."""

    def log(self, event: dict[str, Any]) -> None:
        """Take one checked event."""

    def conclude(self, summary: dict[str, Any], champion: Champion | None) -> None:
        """Take what summary.json holds and, if the run made one, the champion: a run's last words."""

    def close(self) -> None:
        """Write what is still held."""


class Telemetry:
    """Hands every event to every sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks

    def log(self, event: dict[str, Any]) -> None:
        """Record metrics by name or `name/label` (`bits_per_byte/news-2026-11`); `event` tells of what.

        `time` (unix seconds) is added. ValueError for a name outside METRICS.
        """
        check_names(event)
        timed = {"time": round(time.time(), 3), **event}
        for sink in self.sinks:
            sink.log(timed)

    def conclude(self, summary: dict[str, Any], champion: Champion | None) -> None:
        """Hand a run's last words to every sink."""
        for sink in self.sinks:
            sink.conclude(summary, champion)

    def close(self) -> None:
        """Flush and close every sink."""
        for sink in self.sinks:
            sink.close()


def check_names(event: dict[str, Any]) -> None:
    """Raise ValueError if an event has a name that METRICS does not know."""
    for name in event:
        if name.split("/")[0] not in METRICS and name not in FIELDS:
            near = difflib.get_close_matches(name.split("/")[0], METRICS, n=1)
            advice = f"did you mean {near[0]}?" if near else "add it to cluster.telemetry.METRICS"
            raise ValueError(f"metric {name!r} is unknown; {advice}")


class JsonLines:
    """metrics.jsonl: appended to line by line locally, rewritten by a thread in a bucket."""

    def __init__(self, store: Store, path: str, flush_every_s: float = 30.0) -> None:
        self._store, self._path, self._lock = store, path, threading.Lock()
        local = store.local_path(path)
        if local:
            local.parent.mkdir(parents=True, exist_ok=True)
            torn = local.exists() and local.stat().st_size > 0 and local.read_bytes()[-1:] != b"\n"
            self._file = open(local, "ab", buffering=0)  # noqa: SIM115 - closed in close()
            self._file.write(b"\n" if torn else b"")
            return
        self._lines = bytearray(store.read(path) if store.exists(path) else b"")
        self._written, self._closed = len(self._lines), threading.Event()
        self._thread = threading.Thread(target=self._rewrite_now_and_then, args=(flush_every_s,), daemon=True)
        self._thread.start()

    def log(self, event: dict[str, Any]) -> None:
        """Add one line."""
        line = orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        if self._store.is_local:
            self._file.write(line)
            return
        with self._lock:
            self._lines += line

    def flush(self) -> None:
        """Write what a bucket does not have yet; a failure is logged and tried again next time."""
        if self._store.is_local:
            return
        with self._lock:
            data = bytes(self._lines)
        if len(data) == self._written:
            return
        try:
            self._store.write(self._path, data)
        except OSError as error:
            logger.warning("metrics are kept in memory for now: %s", error)
            return
        self._written = len(data)

    def close(self) -> None:
        """Write the rest."""
        if self._store.is_local:
            self._file.close()
            return
        self._closed.set()
        self._thread.join()
        self.flush()

    def _rewrite_now_and_then(self, flush_every_s: float) -> None:
        pause_s = flush_every_s
        while not self._closed.wait(pause_s):
            began = time.monotonic()
            self.flush()
            # At most 5 % of the time writing; but a network that hung once must not keep the next lines back for long.
            pause_s = min(max(flush_every_s, 20 * (time.monotonic() - began)), LONGEST_PAUSE * flush_every_s)


class Prometheus:
    """Ray's metrics endpoint: `ray_headrace_<name>{run, label}`; needs a connected Ray."""

    def __init__(self, run: str) -> None:
        from ray.util import metrics

        self._run, self._metrics, self._totals = run, metrics, dict[str, float]()
        self._made: dict[str, Any] = {}

    def log(self, event: dict[str, Any]) -> None:
        """Set gauges, observe histograms, and raise counters to the totals given."""
        for name, value in event.items():
            base, _, label = name.partition("/")
            if base not in METRICS or not isinstance(value, int | float):
                continue
            metric, tags = self._metric(base), {"run": self._run, "label": label}
            if METRICS[base].kind == "gauge":
                metric.set(float(value), tags)
            elif METRICS[base].kind == "histogram":
                metric.observe(float(value), tags)
            elif (more := value - self._totals.get(name, 0.0)) > 0:
                metric.inc(float(more), tags)
                self._totals[name] = value

    def conclude(self, summary: dict[str, Any], champion: Champion | None) -> None:
        """Do nothing: Prometheus holds metrics over time, no facts."""

    def close(self) -> None:
        """Do nothing: Ray's agent holds the values."""

    def _metric(self, name: str) -> Any:
        if name not in self._made:
            unit, kind, text = METRICS[name]
            rest: dict[str, Any] = {"description": f"{text} ({unit})", "tag_keys": ("run", "label")}
            if kind == "histogram":
                rest["boundaries"] = [10.0**n * m for n in range(-3, 5) for m in (1, 2, 5)]
            made = {"gauge": "Gauge", "counter": "Counter", "histogram": "Histogram"}[kind]
            self._made[name] = getattr(self._metrics, made)(f"headrace_{name}", **rest)
        return self._made[name]


def setup_logging(json_lines: bool = False) -> None:
    """Show our INFO lines and everybody's errors on stderr, and nobody else's noise."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if json_lines else logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("ray", "DeepSpeed", "deepspeed", "wandb", "botocore", "urllib3", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": record.created, "level": record.levelname.lower(), "logger": record.name}
        return orjson.dumps(line | {"message": super().format(record)}).decode()
