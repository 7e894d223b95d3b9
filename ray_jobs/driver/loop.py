"""What does the driver do once Ray runs: from the first event of training to the report?

    train and listen -> judge -> promote -> account -> summary and report

Kept apart from `ray_jobs.driver.run`, for this part brings torch and Ray Train: two seconds that pass while Ray starts.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cluster.telemetry.json_lines import JsonLines
from cluster.telemetry.sinks import Prometheus, Sink, Telemetry
from cluster.telemetry.wandb_run import choose_mode, machine, open_wandb
from data_ops.audit.account import account
from models.engine.checkpoint import weights_sha256
from models.engine.engine import resolve_precision
from models.kinds.kinds import kind_of
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.ledger import note_stand
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.config.schema import Config
from ray_jobs.driver.meter import Meter
from ray_jobs.driver.signals import STOPPING
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.outcome import FAILED, OK, STOPPED, Outcome
from ray_jobs.registry.champion import is_judged
from ray_jobs.registry.judge import judge_and_promote
from ray_jobs.registry.lineage import lineage, tracking_id
from ray_jobs.report.gather import gather
from ray_jobs.report.page import render_run
from ray_jobs.report.summary import Judged, summarise, verdict_events
from ray_jobs.report.terminal import Display
from ray_jobs.store.lease import Heart
from ray_jobs.store.paths import branch_name, run_path
from ray_jobs.training.events import event_to_row, read_events
from ray_jobs.training.group.training import Training

OWN_FILES = "headrace run name=mine store=./mine sources.mine.path='texts/*.jsonl' sources.mine.text=body"


@dataclass(frozen=True)
class Drive:
    """What one driver holds in its hands."""

    config: Config
    opened: OpenStore
    training: Training
    heart: Heart
    stopped: threading.Event
    display: Display


def drive(run: Drive, *, judged: bool) -> Outcome:
    """Train and listen, then judge what came of it and write it down."""
    config, opened, training, display = run.config, run.opened, run.training, run.display
    began, store = time.time(), opened.store
    resumed = commits.latest(store, config.name)
    display.header(_header(config, training, resumed, opened))
    lines = JsonLines(store, run_path(config.name, "metrics.jsonl"), config.telemetry.flush_every)
    batch_rows = config.engine.batch_rows(config.model.row_tokens)
    meter = Meter(config.engine.batch_tokens, batch_rows, opened.lake.windows()[0])
    champion = None
    with _telemetry(run, resumed) as telemetry:
        _listen(run, lines, meter, telemetry)
        cut_short = run.stopped.is_set()  # a wish that comes later finds nothing left to stop: what is left is done
        if training.failure is None and not run.heart.lease.held(store):
            training.failure = _taken_over(config)
        last = commits.latest(store, config.name)
        result = Judged(resumed, last, training.placement.workers, time.time() - began)
        if last is not None and training.failure is None:
            candidate = commits.latest(store, branch_name(config.name, last.step)) or last
            result = result.with_details(_identify(opened, training, candidate))
            if judged and not cut_short and not is_judged(store, candidate):
                held = partial(run.heart.lease.held, store)
                verdict = judge_and_promote(config, opened.tokenizer_json, candidate, result.details, held)
                decision, before, after = verdict.decision, verdict.before, verdict.after
                result = result.with_decision(decision, before, after)
                display.judge(decision.to_dict())
                if decision.promoted:
                    display.promoted(candidate.step)
                    champion = lineage(store, candidate, result.last or candidate)
                for told in verdict_events(candidate, decision, before, resumed):
                    lines.log(event_to_row(told))
                    for known in meter.read(told):
                        telemetry.log(known)
        lines.close()
        training.close()
        if last is not None:
            _note(run, last)
        try:
            summary = _write_down(config, opened, result, display)
        except OSError as error:
            if not run.stopped.is_set() or training.failure is not None:
                raise
            display.note(f"{error}; the same command goes on")  # summary and report are written at the next end
            return Outcome(STOPPED, {})
        if training.failure is None:
            telemetry.conclude(summary, champion)
    if training.failure is not None:
        display.note(f"failed: {training.failure}")
        return Outcome(FAILED, summary)
    if cut_short:
        display.note("stopped after a checkpoint; the same command goes on from there")
        return Outcome(STOPPED, summary)
    if all(source.IS_SAMPLE for source in config.sources.values()):
        display.note(f"your own files: {OWN_FILES}")
    if not summary["ok"]:
        return Outcome(FAILED, summary)
    display.done("the sources are drained and all is committed")
    return Outcome(OK, summary)


def _listen(run: Drive, lines: JsonLines, meter: Meter, telemetry: Telemetry) -> None:
    """Write down and show what happens until training ends; stop it if the run is no longer ours."""
    told = False
    for event in run.training.events(run.stopped):
        lines.log(event_to_row(event))
        run.display.event(event)
        for known in meter.read(event):
            telemetry.log(known)
        if run.stopped.is_set() and not told:
            told = True
            run.display.note(STOPPING)
        if run.heart.lost.is_set() and run.training.failure is None:
            run.training.failure = _taken_over(run.config)


def _note(run: Drive, last: Commit) -> None:
    """Note the last checkpoint in the ledger, which a board that was killed after its commit has left to us."""
    try:
        if run.heart.lease.held(run.opened.store):
            note_stand(run.opened.lake, last, run.heart.lease)
    except OSError as error:  # it is committed: no reason to go without summary and report
        run.display.note(f"checkpoint {last.name} is not in the ledger; the next start notes it: {error}")


def _taken_over(config: Config) -> str:
    return f"run {config.name} was taken over by another driver; this one stops"


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
    page = render_run(gather(config, opened.lake, events, summary, decision))
    store.write(run_path(name, "report.html"), page.encode())
    display.report(f"{config.store}/{run_path(name, 'report.html')}")
    return summary


def _identify(opened: OpenStore, training: Training, candidate: Commit) -> dict[str, Any]:
    """What identifies the result: checkpoint, weights, sample and tokenizer."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = weights_sha256(fetch_files(opened.store, candidate, Path(scratch)))
    window = opened.lake.last_window()
    return {
        "checkpoint": candidate.name,
        "weights_sha256": weights,
        "sample_fingerprint": training.sample_fingerprint(window),
        "last_window": window,
        "tokenizer": opened.tokenizer.fingerprint,
    }


@contextmanager
def _telemetry(run: Drive, resumed: Commit | None) -> Iterator[Telemetry]:
    """W&B, TensorBoard and Prometheus, as far as they are asked for."""
    config, store, sinks = run.config, run.opened.store, list[Sink]()
    if choose_mode(config.wandb) != "disabled":
        nodes = [(node.cpus, node.gpus) for node in run.training.session.nodes().values()]
        settings = {**config.model_dump(mode="json"), "system": machine(nodes)}
        local, run_id = store.local_path(run_path(config.name, "wandb")), tracking_id(store, config.name)
        tracked = open_wandb(config.wandb, run_id, config.name, settings, local, run.stopped.set)
        sinks += [tracked] if tracked is not None else []
    if config.telemetry.tensorboard:
        from cluster.telemetry.tensorboard import TensorBoard  # an extra, which preflight looked for

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
        "parameters": kind_of(config.model).num_parameters(config.model, opened.tokenizer.vocab_size),
        "resumed_step": resumed.step if resumed else None,
        "resumed_round": resumed.round if resumed else None,
    }
