"""What does `headrace sweep` do, from the question to the best configuration?

    check -> lease -> Ray -> ingest what is new -> record the rounds -> trials -> table, report, best.yaml

The driver trains nothing and decides little: Ray Tune places the trials and stops the weak ones (tune/search.py), each
trial answers from the store what it has done already, and the result is read from the verdicts there. Killed at any
point, the same command goes on: no finished work is repeated.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from cluster.runtime.session import connect
from cluster.storage.state import write_json
from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.driver.run import preloaded
from ray_jobs.driver.signals import stop_on_signal
from ray_jobs.outcome import FAILED, OK, ConfigError, Outcome, causes_told
from ray_jobs.outcome import STOPPED as EXIT_STOPPED
from ray_jobs.store.access import refuse_while_forgetting
from ray_jobs.store.lease import Heart, RunIsLiveError, acquire
from ray_jobs.sweep.capacity import Room, room
from ray_jobs.sweep.prepare import prepare
from ray_jobs.sweep.question import best_values, fix_question, points, question, said, sweep_of, sweep_run
from ray_jobs.sweep.report import write_report
from ray_jobs.sweep.result import (
    ENDED,
    REFUSED,
    STOPPED,
    best_of,
    best_yaml,
    end_told,
    summary,
    table_lines,
    trials_in_order,
)
from ray_jobs.sweep.start import pin
from ray_jobs.sweep.table import Table, keep_generation
from ray_jobs.sweep.trial.gradient_noise import measure_noise
from ray_jobs.sweep.trial.group import TrialGroup
from ray_jobs.sweep.trial.job import Segment, SweepJob
from ray_jobs.sweep.trial.score import score_of
from ray_jobs.sweep.trial.trial import TrialHost
from tune.policy import AtMark, Halving, Member, Plan, Population

logger = logging.getLogger(__name__)

Say = Callable[[str, str], None]  # a label and a line


def run_sweep(config: Config, say: Say) -> Outcome:
    """Run all trials that are not done yet, and write down what was found. `check_sweep` was asked before."""
    store, run = Store.open(config.store), sweep_run(config)
    try:
        heart = Heart(store, acquire(store, run))
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    try:
        refuse_while_forgetting(store)
        start = pin(store, config)
        fix_question(store, run, question(config, start))
        connected = connect(config.cluster, preload=preloaded(config))
        with connected as session, stop_on_signal() as stopped:  # order: as in run
            job = prepare(config, store, start, stopped, say)
            if job is None:
                return Outcome(EXIT_STOPPED)
            driver = Driver(config, store, job, room(session, config), Control(heart, stopped, say))
            with causes_told("sweep"):
                return driver.drive()
    finally:
        heart.release()


class Control(NamedTuple):
    """The lease under which a sweep is driven, whether it is to stop, and who hears of it."""

    heart: Heart
    stopped: threading.Event
    say: Say


class Driver:
    """One driver of one sweep: what was asked for, the table as it fills, and who hears of it."""

    def __init__(self, config: Config, store: Store, job: SweepJob, place: Room, control: Control) -> None:
        self.config, self.store, self.job, self.place = config, store, job, place
        self.heart, self.stopped, self.say = control
        self.sweep = sweep_of(config)
        self.table = Table(config, store, job, place, self.say)

    def drive(self) -> Outcome:
        """Run the trials and tell what came of them."""
        from tune import search  # seconds to import Ray Tune

        began, sweep, marks, table = time.time(), self.sweep, self.job.marks, self.table
        self._header()
        asking = search.Search(
            sweep.scheduler,
            marks,
            sweep.reduction,
            self.place.concurrent,
            [self.place.resources] * self.place.workers,
            f"{self.config.store}/{self.job.run_path('ray')}",
            self.config.seed,
        )
        hooks = search.Hooks(self._judged, self._ended, self.stopped)
        host: Callable[[], search.Host[Segment]] = partial(TrialHost, self.job)
        if self.place.workers > 1:
            host = partial(TrialGroup, self.job, self.place.workers, self.place.resources)
        if sweep.scheduler == "pbt":
            first = [Member(0, n, point) for n, point in enumerate(points(self.config))]
            plan: Plan[Segment] = Population(
                first, len(marks), sweep.dimensions, self.config.seed, table.of_member, self._keep
            )
            search.run_stretches(asking, host, plan, table.known_score, hooks)
        elif sweep.way == "tpe":
            proposals = search.Proposals(sweep.dimensions, sweep.trials, table.asked_before())
            search.run_tpe(asking, host, proposals, table.of_point, hooks)
        else:
            specs = [spec for point in points(self.config) if (spec := table.of_point(point)) and spec.last]
            if sweep.scheduler == "asha":
                known = {n: [score_of(v) for v in table.trials[spec.key].verdicts] for n, spec in enumerate(specs)}
                plan = Halving(len(specs), len(marks), sweep.reduction, partial(_stretch, specs), known)
                search.run_stretches(asking, host, plan, table.known_score, hooks)
                if plan.is_done:
                    table.end_where_they_are()
            elif any(table.trials[spec.key].state not in ENDED for spec in specs):
                search.run_all(asking, host, specs, hooks)
        self.store.delete(self.job.run_path("ray"))  # Tune's own notes, which nobody reads
        return self._write_down(time.time() - began)

    def _keep(self, decided: list[Member]) -> list[Member]:
        """Write a generation down; not one that was decided while all is being stopped."""
        return decided if self.stopped.is_set() else keep_generation(self.store, self.job.run, decided)

    def _judged(self, spec: Segment, verdict: AtMark) -> None:
        """A trial was judged at a mark."""
        if self.heart.lost.is_set() and not self.stopped.is_set():
            self.say("note", f"sweep {self.job.run} was taken over by another driver; this one stops")
            self.stopped.set()
        table = self.table
        if table.trials[spec.key].state not in REFUSED and table.judged(spec, verdict["mark"]):
            self.say("trial", table.trials[spec.key].line(self.job.marks, table.best))

    def _ended(self, spec: Segment, failure: str | None) -> None:
        """A trial needs no more training, or failed."""
        trial = self.table.trials[spec.key]
        if trial.state in REFUSED:
            return
        if failure is not None:
            self.table.failed(trial, failure, keep=not self.stopped.is_set())
            return
        if self.sweep.scheduler == "asha" and self.sweep.way != "tpe" and spec.last < len(self.job.marks):
            return  # it waits at its mark
        self.table.end(trial, spec.last)
        if trial.state == STOPPED:
            self.say("trial", f"{spec.key}  stopped by {self.sweep.scheduler} at {trial.last['tokens']:,} tokens")
        self.table.forget()

    def _header(self) -> None:
        sweep, job = self.sweep, self.job
        way = sweep.way if sweep.scheduler != "pbt" else "population"
        self.say(
            "sweep",
            f"{self.config.name} · {self.config.store} · {way}, {sweep.scheduler} · up to {sweep.trials} trials of "
            f"{job.marks[-1]:,} tokens, judged at {', '.join(f'{m:,}' for m in job.marks)} · "
            f"{self.place.concurrent} at a time · from {job.start or 'scratch'}",
        )

    def _write_down(self, seconds: float) -> Outcome:
        """Table, summary, best.yaml and report."""
        ordered = trials_in_order(list(self.table.trials.values()))
        for line in table_lines(ordered):
            self.say("", line)
        stopped = self.stopped.is_set()
        best = best_of(ordered)
        noise = None
        if best is not None and not stopped:
            config = self.table.configs[best.key]
            diet = self.table.diets.of(config)
            noise = measure_noise(self.job, best.key, config, diet, self.place.resources, self.say)
        found = summary(self.config, self.job, ordered, best, noise, seconds)
        if best is not None:
            values = best_values(self.config, best.point, self.table.configs[best.key].optim.schedule.tokens)
            self.store.write(self.job.run_path("best.yaml"), best_yaml(values, best, self.job.run).encode())
            self.say("best", f"{best.key}  {best.last['score']:.4f} bits/byte  {said(best.point)}")
            self.say("best", f"headrace run -c {found['best_yaml']}{end_told(values)}")
        write_json(self.store, self.job.run_path("summary.json"), found)
        self.say("report", write_report(self.store, self.config, self.job, ordered, found))
        if stopped:
            self.say("note", "stopped; the same command goes on from the last commit of every trial")
            return Outcome(EXIT_STOPPED, found)
        return Outcome(OK if best is not None else FAILED, found)


def _stretch(specs: Sequence[Segment], number: int, mark: int) -> Segment:
    """The part of a trial between two marks."""
    return replace(specs[number], first=mark, last=mark + 1)
