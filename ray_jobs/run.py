"""What does `headrace run` do, from the first check to the report?

    check -> lease -> Ray -> ingest and train side by side -> judge -> promote -> account -> summary and report

The driver decides nothing about data: it starts things, listens, and writes down. Killed at any point, the same
command goes on from the last committed checkpoint.
"""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import RayError

from cluster.session import connect
from cluster.storage import Store
from cluster.telemetry import JsonLines, Prometheus, Sink, Telemetry
from cluster.tensorboard import TensorBoard
from cluster.tracking import choose_mode, machine, open_wandb, redact
from data_ops.account import account
from models.checkpoint import weights_sha256
from models.engine import resolve_precision
from models.settings import num_parameters
from ray_jobs import commit as commits
from ray_jobs.board import record
from ray_jobs.commit import Commit, run_path
from ray_jobs.config import Config, ConfigError
from ray_jobs.display import Display
from ray_jobs.ingest import OpenStore, open_store
from ray_jobs.lease import Heart, RunIsLiveError, acquire
from ray_jobs.lineage import lineage, tracking_id
from ray_jobs.meter import Meter
from ray_jobs.promote import is_judged, judge, promote
from ray_jobs.quiet import refuse_while_forgetting
from ray_jobs.report import render
from ray_jobs.signals import STOPPING, stop_on_signal
from ray_jobs.story import Judged, read_events, summarise, tell, verdict_events
from ray_jobs.train import Training

logger = logging.getLogger(__name__)

OK, FAILED, STOPPED = 0, 1, 143
OWN_FILES = "headrace run name=mine store=./mine sources.mine.path='texts/*.jsonl' sources.mine.text=body"


class ClusterLostError(RuntimeError):
    """Ray is gone, not the run: try again (exit code 75)."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code and what summary.json holds."""

    code: int
    summary: dict[str, Any] = field(default_factory=dict)


def run(config: Config, display: Display, *, follow: bool = False, judged: bool = True) -> Outcome:
    """Run the whole loop until the sources are drained, for ever with follow, or until stopped.

    The configuration was checked (`preflight.check_run`). judged=False only trains: nothing is judged or promoted.
    Raises ConfigError, before a cluster is touched, if another driver was faster.
    """
    store = Store.open(config.store)
    try:
        lease = acquire(store, config.name)
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    heart = Heart(store, lease)
    try:
        refuse_while_forgetting(store)
        public = redact(config.model_dump(mode="json"))
        store.write(run_path(config.name, "config.json"), json.dumps(public, indent=1).encode())
        connected = connect(config.cluster, metrics=config.telemetry.prometheus)
        with connected as session, stop_on_signal() as stopped:  # in this order: Ray sets handlers of its own
            commits.sweep_orphans(store, config.name)
            opened = open_store(config, stopped.is_set, follow=follow)
            training = Training(config, opened, lease, session, follow=follow)
            try:
                return _drive(Drive(config, opened, training, heart, stopped, display), judged=judged)
            except RayError as error:  # ours restart for ever: only a cluster that is gone ends them
                said = str(error).strip().splitlines()[-1]
                raise ClusterLostError(f"the Ray cluster was lost ({said}); the same command goes on") from error
    finally:
        heart.release()


@dataclass(frozen=True)
class Drive:
    """What one driver holds in its hands."""

    config: Config
    opened: OpenStore
    training: Training
    heart: Heart
    stopped: threading.Event
    display: Display


def _drive(drive: Drive, *, judged: bool) -> Outcome:
    """Train and listen, then judge what came of it and write it down."""
    config, opened, training, display = drive.config, drive.opened, drive.training, drive.display
    began, store = time.time(), opened.store
    resumed = commits.latest(store, config.name)
    display.header(_header(config, training, resumed, opened))
    lines = JsonLines(store, run_path(config.name, "metrics.jsonl"), config.telemetry.flush_every)
    batch_rows = config.engine.batch_rows(config.model.row_tokens)
    meter = Meter(config.engine.batch_tokens, batch_rows, opened.lake.windows()[0])
    champion = None
    with _telemetry(drive, resumed) as telemetry:
        _listen(drive, lines, meter, telemetry)
        last = commits.latest(store, config.name)
        result = Judged(resumed, last, training.placement.workers, time.time() - began)
        if last is not None and training.failure is None:
            candidate = commits.latest(store, commits.branch_name(config.name, last.step)) or last
            result = result.with_details(_identify(opened, training, candidate))
            if judged and not drive.stopped.is_set() and not is_judged(store, candidate):
                decision, before, after = judge(config, opened.tokenizer_json, candidate)
                promote(store, candidate, decision, result.details)
                result = result.with_decision(decision, before, after)
                display.judge(decision.to_dict())
                if decision.promoted:
                    display.promoted(candidate.step)
                    champion = lineage(store, candidate, result)
                for told in verdict_events(candidate, decision, before, resumed):
                    lines.log(told)
                    for known in meter.read(told):
                        telemetry.log(known)
        lines.close()
        training.close()
        if last is not None:
            record(opened.lake, last)  # a board killed between commit and ledger left this to us
        summary = _write_down(config, opened, result, display)
        if training.failure is None:
            telemetry.conclude(summary, champion)
    if training.failure is not None:
        display.note(f"failed: {training.failure}")
        return Outcome(FAILED, summary)
    if drive.stopped.is_set():
        display.note("stopped after a checkpoint; the same command goes on from there")
        return Outcome(STOPPED, summary)
    if all(source.kind == "python" for source in config.sources.values()):
        display.note(f"your own files: {OWN_FILES}")
    return Outcome(OK if summary["ok"] else FAILED, summary)


def _listen(drive: Drive, lines: JsonLines, meter: Meter, telemetry: Telemetry) -> None:
    """Write down and show what happens until training ends; stop it if the run is no longer ours."""
    told = False
    for event in drive.training.events(drive.stopped):
        lines.log(event)
        drive.display.event(event)
        for known in meter.read(event):
            telemetry.log(known)
        if drive.stopped.is_set() and not told:
            told = True
            drive.display.note(STOPPING)
        if drive.heart.lost.is_set() and drive.training.failure is None:
            drive.training.failure = f"run {drive.config.name} was taken over by another driver; this one stops"


def _write_down(config: Config, opened: OpenStore, result: Judged, display: Display) -> dict[str, Any]:
    """Audit the run, and write summary and report."""
    store, name = opened.store, config.name
    audit = account(opened.lake, name)
    events = read_events(store, name)
    summary = summarise(config, events, opened.lake.windows()[0], audit, result)
    if result.decision is not None:
        display.slices(summary["bits_per_byte"])
    display.ledger(audit.to_dict())
    store.write(run_path(name, "summary.json"), json.dumps(summary, indent=1).encode())
    decision = result.decision.to_dict() if result.decision else None
    page = render(tell(config, opened.lake, events, summary, decision))
    store.write(run_path(name, "report.html"), page.encode())
    display.report(f"{config.store}/{run_path(name, 'report.html')}")
    return summary


def _identify(opened: OpenStore, training: Training, candidate: Commit) -> dict[str, Any]:
    """What identifies the result: checkpoint, weights, sample and tokenizer."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = weights_sha256(commits.fetch(opened.store, candidate, Path(scratch)))
    window = opened.lake.last_window()
    return {
        "checkpoint": candidate.name,
        "weights_sha256": weights,
        "sample_fingerprint": training.sample_fingerprint(window),
        "last_window": window,
        "tokenizer": opened.tokenizer.fingerprint,
    }


@contextmanager
def _telemetry(drive: Drive, resumed: Commit | None) -> Iterator[Telemetry]:
    """W&B, TensorBoard and Prometheus, as far as they are asked for."""
    config, store, sinks = drive.config, drive.opened.store, list[Sink]()
    if choose_mode(config.wandb) != "disabled":
        nodes = [(node.cpus, node.gpus) for node in drive.training.session.nodes().values()]
        settings = {**config.model_dump(mode="json"), "system": machine(nodes)}
        local, run_id = store.local_path(run_path(config.name, "wandb")), tracking_id(store, config.name)
        tracked = open_wandb(config.wandb, run_id, config.name, settings, local, drive.stopped.set)
        sinks += [tracked] if tracked is not None else []
    if config.telemetry.tensorboard:
        sinks.append(TensorBoard(store, run_path(config.name, "tensorboard"), resumed.step if resumed else None))
    if config.telemetry.prometheus:
        sinks.append(Prometheus(config.name))
    telemetry = Telemetry(sinks)
    try:
        yield telemetry
    finally:
        telemetry.close()


def _header(config: Config, training: Training, resumed: Commit | None, opened: OpenStore) -> dict[str, Any]:
    return {
        "name": config.name,
        "store": config.store,
        "workers": training.placement.workers,
        "nodes": training.num_nodes,
        "zero_stage": config.engine.zero_stage,
        "precision": resolve_precision(config.engine.precision),
        "parameters": num_parameters(config.model, opened.tokenizer.vocab_size),
        "resumed_step": resumed.step if resumed else None,
        "resumed_round": resumed.round if resumed else None,
    }
