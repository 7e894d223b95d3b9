"""What is measured, in which unit, and where does it go?

`METRICS` is the one table of names behind metrics.jsonl, W&B, Prometheus and the docs; another name is an
error. `Telemetry.log` hands one event to every sink: W&B (wandb_run.py), TensorBoard and Prometheus, as far as they are
asked for. metrics.jsonl is written beside them, always (json_lines.py).
"""

import logging
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from cluster.telemetry.metrics import METRICS, check_names
from cluster.telemetry.wandb_run import Champion

if TYPE_CHECKING:
    from ray.util import metrics

logger = logging.getLogger(__name__)
NOTHING: Mapping[str, object] = MappingProxyType({})
SMALLEST = 1e-300  # what a counter that stands at 0 is raised by: Ray takes no 0, and no total ever shows this
REFRESH_S = 5.0  # between two sets of a gauge: Ray exports every 10 s what was set since, and soon drops the rest


class Sink(Protocol):
    """Where events go; `log` never blocks for long."""

    def log(self, event: Mapping[str, object]) -> None:
        """Take one checked event."""

    def promoted(self, champion: Champion) -> None:
        """Take a checkpoint of the run that has become the champion, with where it comes from."""

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Take what summary.json holds: a run's last words."""

    def close(self) -> None:
        """Write what is still held."""


class Telemetry:
    """Hands every event to every sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks
        self._told: list[Sink] = []  # of whose trouble was told

    def log(self, event: Mapping[str, object]) -> None:
        """Record metrics by name or `name/label` (`bits_per_byte/news-2026-11`); `event` tells of what.

        `time` (unix seconds) is added. ValueError for a name outside METRICS.
        """
        check_names(event)
        timed = {"time": round(time.time(), 3), **event}
        for sink in self.sinks:
            try:
                sink.log(timed)
            except OSError as error:  # a disk that is full for one of them is no reason to end a run
                if sink not in self._told:
                    self._told.append(sink)
                    logger.warning("%s takes no events for now: %s", type(sink).__name__, error)

    def promoted(self, champion: Champion) -> None:
        """Hand a new champion to every sink."""
        for sink in self.sinks:
            sink.promoted(champion)

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Hand a run's last words to every sink."""
        for sink in self.sinks:
            sink.conclude(summary)

    def close(self) -> None:
        """Flush and close every sink."""
        for sink in self.sinks:
            sink.close()


class Prometheus:
    """Ray's metrics endpoint: `ray_headrace_<name>{run, label}`; needs a connected Ray.

    A thread sets the gauges again and again until `close`, because Ray forgets one that stays as it is. Counters are
    there from the beginning: what Prometheus first sees of a counter is no increase to it.
    """

    def __init__(self, run: str, begin_with: Mapping[str, object] = NOTHING, refresh_s: float = REFRESH_S) -> None:
        """begin_with: where counters stand when this driver starts; most at 0 in a new run."""
        from ray.util import metrics

        self._run, self._metrics, self._totals = run, metrics, dict[str, float]()
        self._made: dict[str, metrics.Metric] = {}
        self._gauges: dict[str, tuple[metrics.Metric, float, dict[str, str]]] = {}
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_gauges, args=(refresh_s,), daemon=True, name="prometheus")
        self._thread.start()
        self.log(dict(begin_with))

    def log(self, event: Mapping[str, object]) -> None:
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
            elif (more := value - self._totals.get(name, 0.0)) > 0 or name not in self._totals:
                metric.inc(float(more) or SMALLEST, tags)
                self._totals[name] = value

    def promoted(self, champion: Champion) -> None:
        """Do nothing: Prometheus holds metrics over time, no facts."""

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Do nothing, as above."""

    def close(self) -> None:
        """Let go of the gauges; Ray's agent holds counters and histograms."""
        self._closed.set()
        self._thread.join()

    def _keep_gauges(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            with self._lock:  # so that no old value is set behind a new one
                for gauge, value, tags in self._gauges.values():
                    gauge.set(value, tags)

    def _metric(self, name: str) -> "metrics.Metric":
        if name not in self._made:
            unit, kind, text = METRICS[name]
            rest: dict[str, object] = {"description": f"{text} ({unit})", "tag_keys": ("run", "label")}
            if kind == "histogram":
                rest["boundaries"] = [10.0**n * m for n in range(-3, 5) for m in (1, 2, 5)]
            made = {"gauge": "Gauge", "counter": "Counter", "histogram": "Histogram"}[kind]
            self._made[name] = getattr(self._metrics, made)(f"headrace_{name}", **rest)
        return self._made[name]
