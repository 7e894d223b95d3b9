"""What must be there before the first trial: documents, recorded rounds, held-out text, a start?

What was found is written down once (`job.json`), so that a sweep which goes on later sees the same documents, rounds
and held-out text, whatever arrived in between.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import msgspec

from cluster.storage.state import read_json, write_json
from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from data_ops.ingest.context import IngestContext
from data_ops.ingest.events import Warned, WindowDone
from data_ops.ingest.pipeline import ingest
from data_ops.lake.lake import Lake
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.plan import Behind
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.schema import Config, planning
from ray_jobs.evaluation.fresh_slices import fresh_slices
from ray_jobs.evaluation.held_out import held_out, note_steered, steering
from ray_jobs.ingest.opening import open_store
from ray_jobs.outcome import ConfigError
from ray_jobs.store.access import at_work
from ray_jobs.store.frozen import read_tokenizer
from ray_jobs.store.lease import LEASE_SECONDS
from ray_jobs.store.paths import TOKENIZER, run_path
from ray_jobs.sweep.question import JOB, sweep_of, sweep_run, trial_config
from ray_jobs.sweep.start import tokens_of
from ray_jobs.sweep.trial.job import SweepJob
from ray_jobs.sweep.trial.recorded_rounds import Diet, diet_key, place_behind, record_rounds


def prepare(
    config: Config,
    store: Store,
    start: commits.Commit | None,
    stopped: threading.Event,
    say: Callable[[str, str], None],
) -> SweepJob | None:
    """Take in what is new, plan and record the rounds, find the held-out text; None if stopped meanwhile.

    ConfigError if there is too little text to train on, or none to judge by.
    """
    run, lake, sweep = sweep_run(config), Lake(store), sweep_of(config)
    path = run_path(run, JOB)
    tokenizer = read_tokenizer(store).to_json() if store.exists(TOKENIZER) else ""
    if store.exists(path):
        found = read_json(store, path, dict[str, Any])
        lists = {name: tuple(found[name]) for name in ("marks", "fresh", "place")}
        return SweepJob(**{**found, **lists, "store": config.store, "tokenizer": tokenizer})
    if config.sources:
        last = _take_in(config, stopped, say)
        if stopped.is_set():
            return None
    else:
        last = lake.last_window()
    known = read_tokenizer(store)
    tokenizer = known.to_json()
    behind = place_behind(lake, start)
    job = SweepJob(
        run=run,
        store=config.store,
        tokenizer=tokenizer,
        start=start.name if start else None,
        start_tokens=tokens_of(start),
        place=tuple(behind.frontier.base),
        behind=msgspec.json.encode(behind).decode() if behind.frontier.ahead else "",
        marks=sweep.mark_tokens(config.model.row_tokens),
        last_window=last,
        fresh=tuple(sorted(fresh_slices(lake, config.evaluate.period, start))),
        average=sweep.average,
        old_share=sweep.old_share,
        vocabulary=config.model.tokens_of(known.vocab_size),
    )
    diets = Diets(config, store, job)
    diets.of(trial_config(config, sweep.dimensions.corners()[0], job.start_tokens))
    _refuse_without_text(lake, last, config, RowObjective(known.document_token))
    note_steered(store, config.evaluate.steer)
    kept = {name: value for name, value in asdict(job).items() if name not in ("store", "tokenizer")}
    write_json(store, path, kept)
    return job


def _refuse_without_text(lake: Lake, last_window: int, config: Config, objective: RowObjective) -> None:
    """ConfigError where there is nothing to judge by."""
    evaluate = config.evaluate
    only = steering(lake, last_window, evaluate)
    if not held_out(lake, last_window, evaluate, config.model.row_tokens, objective, only).table.num_rows:
        share = f" of which {evaluate.steer:.1%} may steer (evaluate.steer)" if evaluate.steer else ""
        raise ConfigError(f"no document is held out{share}, so nothing can be judged; hold out more (held_out)")


class Diets:
    """The recorded rounds of a sweep, planned when a trial first needs them."""

    def __init__(self, config: Config, store: Store, job: SweepJob) -> None:
        self.config, self.lake, self.job = config, Lake(store), job
        self.found: dict[str, Diet] = {}

    def of(self, config: Config) -> Diet:
        """The rounds that a trial with this configuration trains on; ConfigError if there is too little text."""
        job = self.job
        behind = msgspec.json.decode(job.behind, type=Behind) if job.behind else Behind(Frontier(Place(*job.place)))
        made = planning(self.config)._replace(rounds=config.round, reservoir=config.reservoir, mixture=config.mixture)
        key = diet_key(made, behind, job.last_window)
        if key not in self.found:
            run = f"{job.run}/diet-{key}"
            self.found[key] = record_rounds(self.lake, made, run, behind, job.last_window, job.marks[-1])
        return self.found[key]


def _take_in(config: Config, stopped: threading.Event, say: Callable[[str, str], None]) -> int:
    """Ingest what the sources hold now; the last window."""

    def report(event: WindowDone | Warned) -> None:
        if isinstance(event, WindowDone):
            say("ingest", f"window {event.window}   read {event.read:,}  kept {event.kept:,}")
        else:
            say("note", event.text)

    opened = open_store(config, stopped.is_set)
    for warning in opened.warnings:
        say("note", warning)
    is_alive = partial(at_work, opened.store, wait_seconds=LEASE_SECONDS)
    context = IngestContext(opened.lake, opened.settings, report=report, stop=stopped.is_set, is_alive=is_alive)
    return ingest(context, opened.tokenizer_json)
