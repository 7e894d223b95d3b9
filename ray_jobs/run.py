"""What does `headrace run` do, from the first check to the report?

    check -> lease -> Ray -> ingest and train side by side -> judge -> promote -> account -> summary and report

The driver decides nothing about data: it starts things, listens, and writes down. Killed at any point, the same
command goes on from the last committed checkpoint.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cluster.session import connect
from cluster.storage import Store
from cluster.telemetry import JsonLines, Prometheus, Sink, Telemetry
from cluster.tracking import open_wandb, redact
from data_ops.account import account
from models.checkpoint import weights_sha256
from ray_jobs import commit as commits
from ray_jobs.board import record
from ray_jobs.commit import run_path
from ray_jobs.config import Config, ConfigError
from ray_jobs.display import Display
from ray_jobs.ingest import open_store
from ray_jobs.lease import Heart, RunIsLiveError, acquire
from ray_jobs.preflight import check_run
from ray_jobs.promote import judge, promote
from ray_jobs.report import render
from ray_jobs.story import numbers, summarise, tell
from ray_jobs.train import Training

logger = logging.getLogger(__name__)

OK, FAILED, USAGE, REFUSED, TRY_AGAIN, STOPPED = 0, 1, 2, 3, 75, 143


@dataclass
class Outcome:
    """How a run ended."""

    code: int
    summary: dict[str, Any] = field(default_factory=dict)


def run(config: Config, display: Display, *, follow: bool = False, judged: bool = True) -> Outcome:
    """Run the whole loop until the sources are drained, for ever with follow, or until stopped.

    judged=False only trains: nothing is judged or promoted. Raises ConfigError before a cluster is touched.
    """
    check_run(config, follow=follow)
    store = Store.open(config.store)
    try:
        lease = acquire(store, config.name)
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    heart = Heart(store, lease)
    try:
        store.write(run_path(config.name, "config.json"), _public(config))
        with _session(config) as session:
            opened = open_store(config)
            resumed = commits.latest(store, config.name)
            if resumed is not None:
                record(opened.lake, resumed)  # a driver killed between commit and ledger left this to us
            training = Training(config, opened, lease, session, follow=follow)
            display.header(_header(config, training, resumed, opened.tokenizer.vocab_size))
            outcome = _drive(config, opened, training, display, resumed, judged=judged)
            training.close()
        return outcome
    finally:
        heart.release()


def _drive(
    config: Config, opened: Any, training: Training, display: Display, resumed: commits.Commit | None, *, judged: bool
) -> Outcome:
    """Train, then judge, promote, account and report."""
    store, lake = opened.store, opened.lake
    began = time.time()
    with _telemetry(config, store) as telemetry, _stop_on_signal(training, display) as stopped:
        telemetry.log({"event": "start", "message": "resume" if resumed else "start", "workers": training.placement.workers})
        kept = _Kept(store, config.name)
        for event in training.events():
            kept.add(event)
            _show(display, event)
            for known in numbers(event):
                telemetry.log(known)
        last = commits.latest(store, config.name)
        decision = None
        details: dict[str, Any] = {}
        if last is not None and training.failure is None:
            details = _details(store, opened, training, last)
            if judged and not stopped.is_set() and (resumed is None or last.step > resumed.step):
                decision, tables = judge(config, opened.tokenizer_json, last)
                promote(store, last, decision, details)
                display.judge(decision.to_dict())
                kept.add({"event": "judged", "time": time.time(), "step": last.step, "promoted": decision.promoted})
                details["tables"] = tables
        audit = account(lake, config.name)
        summary = summarise(
            config, kept.all(), audit, last, resumed, decision, details, training.placement.workers, time.time() - began
        )
        display.ledger(audit.to_dict())
        _write(config, store, lake, kept, summary, decision, details.get("tables"))
        display.report(f"{config.store}/{run_path(config.name, 'report.html')}")
    if training.failure is not None:
        display.note(f"failed: {training.failure}")
        return Outcome(FAILED, summary)
    if stopped.is_set():
        return Outcome(STOPPED, summary)
    return Outcome(OK if audit.ok else FAILED, summary)


def _details(store: Store, opened: Any, training: Training, last: commits.Commit) -> dict[str, Any]:
    """What identifies the result: weights, sample and tokenizer."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = weights_sha256(commits.fetch(store, last, Path(scratch)))
    window = opened.lake.last_window()
    return {
        "weights_sha256": weights,
        "sample_fingerprint": training.sample_fingerprint(window),
        "last_window": window,
        "tokenizer": opened.tokenizer.fingerprint,
    }


class _Kept:
    """All events of a run, over all its drivers: runs/<run>/events.jsonl is read first and then added to."""

    def __init__(self, store: Store, run: str) -> None:
        path = run_path(run, "events.jsonl")
        raw = store.read(path).decode() if store.exists(path) else ""
        lines = [line for line in raw.splitlines() if line.endswith("}")]
        self.events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.file = JsonLines(store, path)

    def add(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.file.log(event)

    def all(self) -> list[dict[str, Any]]:
        return self.events


@contextmanager
def _telemetry(config: Config, store: Store) -> Iterator[Telemetry]:
    sinks: list[Sink] = [JsonLines(store, run_path(config.name, "metrics.jsonl"), config.telemetry.flush_every)]
    local = store.local_path(run_path(config.name, "wandb"))
    if tracked := open_wandb(config.wandb, config.name, config.name, config.model_dump(mode="json"), local):
        sinks.append(tracked)
    if config.telemetry.prometheus:
        sinks.append(Prometheus(config.name))
    telemetry = Telemetry(sinks)
    try:
        yield telemetry
    finally:
        telemetry.close()


@contextmanager
def _session(config: Config) -> Iterator[Any]:
    with connect(config.cluster, metrics=config.telemetry.prometheus) as session:
        yield session


@contextmanager
def _stop_on_signal(training: Training, display: Display) -> Iterator[threading.Event]:
    """SIGTERM or ^C once: finish the step, commit, stop. Twice: at once."""
    stopped = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if stopped.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stopped.set()
        training.stop()
        display.note(f"{signal.Signals(number).name}: finishing the step and committing; once more stops at once")

    old = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _show(display: Display, event: dict[str, Any]) -> None:
    shown = {"window": display.window, "round": display.round, "step": display.train, "commit": display.commit}
    if event["event"] in shown:
        shown[event["event"]](event)
    elif event["event"] in ("warning", "fault"):
        display.note(event["text"])
    elif event["event"] == "skip":
        display.note(f"step {event['step']} was skipped: its loss or gradient is not finite")


def _write(
    config: Config, store: Store, lake: Any, kept: _Kept, summary: dict[str, Any], decision: Any, tables: Any
) -> None:
    store.write(run_path(config.name, "summary.json"), json.dumps(summary, indent=1).encode())
    page = render(tell(config, store, lake, kept.all(), summary, decision, tables))
    store.write(run_path(config.name, "report.html"), page.encode())


def _header(config: Config, training: Training, resumed: commits.Commit | None, vocab_size: int) -> dict[str, Any]:
    from models.engine import resolve_precision
    from models.transformer import num_parameters

    return {
        "name": config.name,
        "store": config.store,
        "workers": training.placement.workers,
        "zero_stage": config.engine.zero_stage,
        "precision": resolve_precision(config.engine.precision),
        "parameters": num_parameters(config.model, vocab_size),
        "resumed_step": resumed.step if resumed else None,
        "resumed_round": resumed.round if resumed else None,
    }


def _public(config: Config) -> bytes:
    return json.dumps(redact(config.model_dump(mode="json")), indent=1).encode()


