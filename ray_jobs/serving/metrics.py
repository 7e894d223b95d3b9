"""What does a server tell Prometheus about itself? https://prometheus.io/docs/instrumenting/exposition_formats/"""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ray_jobs.serving.loop import AnsweringLoop
from ray_jobs.serving.served import ServedCheckpoint
from ray_jobs.serving.watch import ChampionWatch

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
AGES = (10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class ServeMetrics:
    """The counts of a server; what stands in its parts is read there when it is asked for."""

    def __init__(self, watch: ChampionWatch, loop: AnsweringLoop) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Standing(watch, loop))
        self.requests = Counter(
            "headrace_serve_requests",
            "Requests answered, by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self.tokens = Counter(
            "headrace_serve_tokens", "Tokens of prompts and of answers.", ["kind"], registry=self._registry
        )
        self.feedback = Counter(
            "headrace_serve_feedback",
            "What was said of answers, by rating, and whether it was stored.",
            ["rating", "stored"],
            registry=self._registry,
        )
        self._age_s = Histogram(
            "headrace_serve_answer_age_seconds",
            "Age of the newest document that the answering checkpoint trained, when it answered.",
            buckets=AGES,
            registry=self._registry,
        )
        self.first_token_s, self.whole_s = (
            Histogram(f"headrace_serve_{name}_seconds", text, buckets=SECONDS, registry=self._registry)
            for name, text in (
                ("first_token", "From a request to its first token."),
                ("request", "From a request to the end of its answer."),
            )
        )

    def answered(self, served: ServedCheckpoint) -> None:
        """Count how old what an answer knows of is: from the event to the answer."""
        if served.newest_event_s is not None:
            self._age_s.observe(time.time() - served.newest_event_s)

    def page(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return bytes(generate_latest(self._registry))


class _Standing(Collector):
    """What is true now: the queue, the checkpoint, its age."""

    def __init__(self, watch: ChampionWatch, loop: AnsweringLoop) -> None:
        self._watch, self._loop = watch, loop

    def collect(self) -> Iterable[Metric]:
        """Read it."""
        watch, served = self._watch, self._watch.current
        yield GaugeMetricFamily("headrace_serve_waiting", "Answers that wait.", value=self._loop.num_waiting)
        yield GaugeMetricFamily("headrace_serve_going", "Answers that go on.", value=self._loop.num_going)
        yield GaugeMetricFamily("headrace_serve_batch_rows", "Answers computed at once.", value=served.decoder.rows)
        info = GaugeMetricFamily(
            "headrace_serve_checkpoint", "1 for what answers.", labels=["checkpoint", "fingerprint"]
        )
        for one in watch.answering:
            info.add_metric([one.name, one.fingerprint], 1)
        yield info
        text = "1 while a new champion is tried on a share of the conversations."
        yield GaugeMetricFamily("headrace_serve_canary", text, value=float(watch.trial is not None))
        if served.newest_event_s is not None:
            age_s = time.time() - served.newest_event_s
            text = "Now less the event time of the newest document that the served checkpoint trained."
            yield GaugeMetricFamily("headrace_serve_age_seconds", text, value=age_s)
        yield CounterMetricFamily("headrace_serve_swaps", "Checkpoints that took over.", value=watch.num_swaps)
        text = "Looks at a champion that could not be served."
        yield CounterMetricFamily("headrace_serve_failed_looks", text, value=watch.num_failures)
        text = "1 while the champion is another than what answers, because it cannot be served."
        yield GaugeMetricFamily("headrace_serve_in_trouble", text, value=float(watch.trouble is not None))
