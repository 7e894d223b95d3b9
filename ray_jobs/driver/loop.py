"""What does the driver do once Ray runs: from the first event of training to the report?

    train and listen, and judge beside it -> the last judgement -> account -> summary and report

Kept apart from `ray_jobs.driver.run`, because this part brings torch and Ray Train: two seconds that pass while Ray
starts.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from cluster.storage.seal import DamagedError
from cluster.telemetry.json_lines import JsonLines
from cluster.telemetry.sinks import Telemetry
from models.engine.engine import resolve_precision
from models.kinds.kinds import kind_of, part_that_trains
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import note_stand
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.config.schema import Config
from ray_jobs.driver.conclusion import write_down
from ray_jobs.driver.judging import Bench, Judging
from ray_jobs.driver.meter import FreshnessObjective, Meter
from ray_jobs.driver.signals import STOPPING
from ray_jobs.driver.telemetry import open_telemetry
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.outcome import FAILED, OK, STOPPED, Outcome, last_line
from ray_jobs.registry.lineage import lineage
from ray_jobs.report.data import Header, Summary
from ray_jobs.report.freshness import objectives_of
from ray_jobs.report.progress import Asked, warming
from ray_jobs.report.summary import Judged, State
from ray_jobs.report.terminal import Display
from ray_jobs.store.lease import Heart
from ray_jobs.store.paths import run_path
from ray_jobs.training.events import CandidateJudged, CandidateMade, Event, event_to_row
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

    @property
    def is_ours(self) -> bool:
        """Does this driver still hold the lease?"""
        return self.heart.lease.held(self.opened.store)


@dataclass(frozen=True)
class Listeners:
    """Who hears of every event: the run's log, and the sinks of its metrics."""

    lines: JsonLines
    meter: Meter
    telemetry: Telemetry

    def log(self, event: Event) -> None:
        """Write an event down and hand its metrics on."""
        self.lines.log(event_to_row(event))
        for row in self.meter.read(event):
            self.telemetry.log(row)


def drive(run: Drive, *, judged: bool) -> Outcome:
    """Train and listen, then judge what came of it and write it down."""
    config, opened, training = run.config, run.opened, run.training
    began, store = time.time(), opened.store
    resumed = commits.latest(store, config.name)
    windows = opened.lake.windows()[0]
    counted = {window.window: (window.counts or {}).get("kept", 0) for window in windows}
    kept = {number: count for number, count in counted.items() if isinstance(count, int)}
    run.display.header(_header(config, training, resumed, opened), asked_of(config), kept)
    lines = JsonLines(store, run_path(config.name, "metrics.jsonl"), config.telemetry.flush_every)
    wanted, slo = objectives_of(config.slo), FreshnessObjective(config.slo.within_s(config.sources), config.slo.late)
    meter = Meter(config.engine.batch_tokens, config.engine.batch_rows(config.model.row_tokens), windows, slo=slo)
    step, begin_with = resumed.step if resumed else None, meter.begin(resumed)
    with open_telemetry(config, store, training.session, run.stopped.set, step, begin_with) as telemetry:
        listeners = Listeners(lines, meter, telemetry)
        judging = _judging(run) if judged else None
        _listen(run, listeners, judging)
        cut_short = run.stopped.is_set()  # a wish that comes later finds nothing left to stop: what is left is done
        if training.failure is None and not run.is_ours:
            training.failure = _taken_over(config)
        if judging is not None:
            judging.end(at_once=cut_short or training.failure is not None)
        last = commits.latest(store, config.name)
        state: State = "stopped" if cut_short else "ended"
        result = Judged(resumed, last, training.placement.workers, time.time() - began, state, wanted=wanted)
        if last is not None and training.failure is None:
            try:
                result = _conclude(run, result, last, None if cut_short else judging)
            except DamagedError as error:  # what it would be judged by: nothing is promoted
                training.failure = f"checkpoint {last.name} was not judged: {last_line(error)}"
            _take(run, listeners, training.new_events())
        lines.close()
        training.close()
        if last is not None:
            _note(run, last)
        try:
            summary = write_down(config, opened, result, run.display)
        except OSError as error:
            if not run.stopped.is_set() or training.failure is not None:
                raise
            run.display.note(f"{error}; the same command goes on")  # summary and report are written at the next end
            return Outcome(STOPPED, {})
        if training.failure is None:
            telemetry.conclude(summary)
    return _outcome(run, summary, cut_short=cut_short)


def _outcome(run: Drive, summary: Summary, *, cut_short: bool) -> Outcome:
    """Say how it ended, in words too."""
    if run.training.failure is not None:
        run.display.note(f"failed: {run.training.failure}")
        return Outcome(FAILED, summary)
    if cut_short:
        run.display.note("stopped after a checkpoint; the same command goes on from there")
        return Outcome(STOPPED, summary)
    if slow := warming(asked_of(run.config), summary["tokens"]):
        run.display.note(slow)
    if all(source.IS_SAMPLE for source in run.config.sources.values()):
        run.display.note(f"your own files: {OWN_FILES}")
    if not summary["ok"]:
        return Outcome(FAILED, summary)
    run.display.done("the sources are drained and all is committed")
    return Outcome(OK, summary)


def _judging(run: Drive) -> Judging:
    """Prepare to ask the gate beside training; what a driver before left unasked is asked at once."""
    bench = _bench(run)
    judging = Judging(bench.hear, run.training.tell)
    if run.config.judge.every and (waiting := bench.waiting()) is not None:
        judging.made(waiting)
    return judging


def _bench(run: Drive) -> Bench:
    held = partial(run.heart.lease.held, run.opened.store)
    return Bench(run.config, run.opened, held, run.training.sample_fingerprint)


def _conclude(run: Drive, result: Judged, last: Commit, judging: Judging | None) -> Judged:
    """Hear the last judgement, if there is one; returns the result with its identity and the gate's word."""
    if judging is None:
        bench = _bench(run)
        return result.with_identity(bench.identify(bench.candidates(last.step)[-1]))
    heard = judging.conclude(last.step)
    result = result.with_identity(heard.identity)
    if heard.verdict is None:
        return result
    return result.with_decision(heard.verdict.decision, heard.verdict.before, heard.verdict.after)


def _listen(run: Drive, listeners: Listeners, judging: Judging | None) -> None:
    """Write down and show what happens until training ends; stop it if the run is no longer ours."""
    told = False
    for event in run.training.events(run.stopped):
        _take(run, listeners, [event])
        if isinstance(event, CandidateMade) and judging is not None:
            judging.made(event.step)
        if run.stopped.is_set() and not told:
            told = True
            run.display.note(STOPPING)
        if run.heart.lost.is_set() and run.training.failure is None:
            run.training.failure = _taken_over(run.config)


def _take(run: Drive, listeners: Listeners, events: Iterable[Event]) -> None:
    """Write events down and show them."""
    for event in events:
        listeners.log(event)
        run.display.event(event)
        if isinstance(event, CandidateJudged) and event.promoted:
            store = run.opened.store
            with suppress(*commits.DAMAGES):  # somebody has moved on already: no reason to end a run
                listeners.telemetry.promoted(lineage(store, commits.by_name(store, event.checkpoint)))


def _note(run: Drive, last: Commit) -> None:
    """Note the last checkpoint in the ledger, which a coordinator that was killed has left to us."""
    try:
        if run.is_ours:
            note_stand(run.opened.lake, last, run.heart.lease)
    except OSError as error:  # it is committed: no reason to go without summary and report
        run.display.note(f"checkpoint {last.name} is not in the ledger; the next start notes it: {error}")


def _taken_over(config: Config) -> str:
    return f"run {config.name} was taken over by another driver; this one stops"


def asked_of(config: Config) -> Asked:
    """Return what the configuration asks of rounds and of the learning rate."""
    schedule, rounds = config.optim.schedule, config.round
    return Asked(rounds.replay_share, rounds.max_backlog_tokens, schedule.warming_tokens, config.optim.lr)


def _header(config: Config, training: Training, resumed: Commit | None, opened: OpenStore) -> Header:
    tokens = config.model.tokens_of(opened.tokenizer.vocab_size)
    return {
        "name": config.name,
        "store": config.store,
        "workers": training.placement.workers,
        "nodes": training.num_nodes,
        "zero_stage": config.engine.zero_stage,
        "precision": resolve_precision(config.engine.precision),
        "parameters": kind_of(config.model).num_parameters(config.model, tokens),
        "trained_parameters": part_that_trains(config.model, tokens).trained,
        "begins_with": config.model.start,
        "resumed_step": resumed.step if resumed else None,
        "resumed_round": resumed.round if resumed else None,
    }
