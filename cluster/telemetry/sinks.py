"""What is measured, in which unit, and where does it go?

`METRICS` is the one table of names behind metrics.jsonl, W&B, Prometheus and the docs; another name is an
error. `Telemetry.log` hands one event to every sink: metrics.jsonl always, W&B (tracking.py), TensorBoard and
Prometheus if asked for. A bucket cannot append, so there a thread rewrites the file now and then; a crash loses the
lines since.
"""

import logging
import threading
import time
from typing import Any, Protocol

import orjson

from cluster.storage.store import Store
from cluster.telemetry.metrics import METRICS, check_names
from cluster.telemetry.wandb_run import Champion

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 10  # times flush_every, between two writes of metrics.jsonl to a bucket
REFRESH_S = 5.0  # between two sets of a gauge: Ray exports every 10 s what was set since, and soon drops the rest


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
    """Ray's metrics endpoint: `ray_headrace_<name>{run, label}`; needs a connected Ray.

    A thread sets the gauges again and again until `close`, because Ray forgets one that stays as it is.
    """

    def __init__(self, run: str, refresh_s: float = REFRESH_S) -> None:
        from ray.util import metrics

        self._run, self._metrics, self._totals = run, metrics, dict[str, float]()
        self._made: dict[str, Any] = {}
        self._gauges: dict[str, tuple[Any, float, dict[str, str]]] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_gauges, args=(refresh_s,), daemon=True, name="prometheus")
        self._thread.start()

    def log(self, event: dict[str, Any]) -> None:
        """Set gauges, observe histograms, and raise counters to the totals given."""
        for name, value in event.items():
            base, _, label = name.partition("/")
            if base not in METRICS or not isinstance(value, int | float):
                continue
            metric, tags = self._metric(base), {"run": self._run, "label": label}
            if METRICS[base].kind == "gauge":
                with self._lock:
                    self._gauges[name] = metric, float(value), tags
                    metric.set(float(value), tags)
            elif METRICS[base].kind == "histogram":
                metric.observe(float(value), tags)
            elif (more := value - self._totals.get(name, 0.0)) > 0:
                metric.inc(float(more), tags)
                self._totals[name] = value

    def conclude(self, summary: dict[str, Any], champion: Champion | None) -> None:
        """Do nothing: Prometheus holds metrics over time, no facts."""

    def close(self) -> None:
        """Let go of the gauges; Ray's agent holds counters and histograms."""
        self._closed.set()
        self._thread.join()

    def _keep_gauges(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            with self._lock:  # so that no old value is set behind a new one
                for gauge, value, tags in self._gauges.values():
                    gauge.set(value, tags)

    def _metric(self, name: str) -> Any:
        if name not in self._made:
            unit, kind, text = METRICS[name]
            rest: dict[str, Any] = {"description": f"{text} ({unit})", "tag_keys": ("run", "label")}
            if kind == "histogram":
                rest["boundaries"] = [10.0**n * m for n in range(-3, 5) for m in (1, 2, 5)]
            made = {"gauge": "Gauge", "counter": "Counter", "histogram": "Histogram"}[kind]
            self._made[name] = getattr(self._metrics, made)(f"headrace_{name}", **rest)
        return self._made[name]
