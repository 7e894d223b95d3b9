"""What does `headrace sweep` do, from the question to the best configuration?

    check -> lease -> Ray -> ingest what is new -> record the rounds -> trials -> table, report, best.yaml

The driver trains nothing and decides little: Ray Tune places the trials and stops the weak ones (tune/search.py), each
trial answers from the store what it has done already, and the result is read from the verdicts there. Killed at any
point, the same command goes on: no finished work is repeated.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray.exceptions import RayError

from cluster.session import connect
from cluster.storage import Store
from ray_jobs.config import Config, ConfigError
from ray_jobs.lease import Heart, RunIsLiveError, acquire
from ray_jobs.outcome import FAILED as EXIT_FAILED
from ray_jobs.outcome import OK, Outcome
from ray_jobs.outcome import STOPPED as EXIT_STOPPED
from ray_jobs.quiet import refuse_while_forgetting
from ray_jobs.run import PRELOAD, ClusterLostError
from ray_jobs.signals import stop_on_signal
from ray_jobs.sweep_batch import measure_noise
from ray_jobs.sweep_group import TrialGroup
from ray_jobs.sweep_job import Segment, SweepJob, end_path, segment_run
from ray_jobs.sweep_plan import (
    asked,
    best_values,
    points,
    question,
    said,
    settle,
    sweep_run,
    trial_config,
)
from ray_jobs.sweep_prepare import Diets, prepare
from ray_jobs.sweep_report import write_report
from ray_jobs.sweep_result import (
    DIVERGED,
    ENDED,
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    TOO_LARGE,
    WAITING,
    TrialResult,
    best_of,
    best_yaml,
    forget_weights,
    in_order,
    read_trial,
    run_command,
    summary,
    table,
)
from ray_jobs.sweep_room import Room, needs_gb, room
from ray_jobs.sweep_rounds import Diet
from ray_jobs.sweep_score import score_of
from ray_jobs.sweep_start import pin
from ray_jobs.sweep_trial import TrialHost
from tune.policy import WORST, Halving, Member, Plan, Population
from tune.space import Point, point_key

logger = logging.getLogger(__name__)

Say = Callable[[str, str], None]  # a label and a line


def sweep(config: Config, say: Say) -> Outcome:
    """Run all trials that are not done yet, and write down what was found. `check_sweep` was asked before."""
    store, run = Store.open(config.store), sweep_run(config)
    try:
        heart = Heart(store, acquire(store, run))
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    try:
        refuse_while_forgetting(store)
        start = pin(store, config)
        settle(store, run, question(config, start))
        with connect(config.cluster, preload=PRELOAD) as session, stop_on_signal() as stopped:  # order: as in run
            job = prepare(config, store, start, stopped, say)
            if job is None:
                return Outcome(EXIT_STOPPED)
            driver = Driver(config, store, job, room(session, config), heart, stopped, say)
            try:
                return driver.drive()
            except RayError as error:
                told = str(error).strip().splitlines()[-1]
                raise ClusterLostError(f"the Ray cluster was lost ({told}); the same command goes on") from error
    finally:
        heart.release()


class Driver:
    """One driver of one sweep: what was asked for, and the table as it fills."""

    def __init__(
        self, config: Config, store: Store, job: SweepJob, place: Room, heart: Heart, stopped: threading.Event, say: Say
    ) -> None:
        self.config, self.store, self.job, self.place = config, store, job, place
        self.heart, self.stopped, self.say = heart, stopped, say
        self.sweep = asked(config)
        self.diets = Diets(config, store, job)
        self.trials: dict[str, TrialResult] = {}  # in the order in which they were asked for
        self.configs: dict[str, Config] = {}
        self.best: TrialResult | None = None
        self.let_go: set[str] = set()  # trials whose weights are deleted

    def drive(self) -> Outcome:
        """Run the trials and tell what came of them."""
        from tune import search  # seconds, for it brings Ray Tune

        began, sweep, marks = time.time(), self.sweep, self.job.marks
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
        host: Callable[[], search.Host] = partial(TrialHost, self.job)
        if self.place.workers > 1:
            host = partial(TrialGroup, self.job, self.place.workers, self.place.resources)
        if sweep.scheduler == "pbt":
            first = [Member(0, n, point) for n, point in enumerate(points(self.config))]
            plan: Plan = Population(first, len(marks), sweep.dimensions, self.config.seed, self._of_member)
            search.run_stretches(asking, host, plan, self._score_of, hooks)
        elif sweep.way == "tpe":
            search.run_tpe(asking, host, sweep.dimensions, sweep.trials, self._asked_before(), self._of_point, hooks)
        else:
            specs = [spec for point in points(self.config) if (spec := self._of_point(point)) and spec.last]
            if sweep.scheduler == "asha":
                known = {n: [score_of(v) for v in self.trials[spec.key].verdicts] for n, spec in enumerate(specs)}
                plan = Halving(len(specs), len(marks), sweep.reduction, partial(_stretch, specs), known)
                search.run_stretches(asking, host, plan, self._score_of, hooks)
                if plan.is_done:
                    self._end_where_they_are()
            elif any(self.trials[spec.key].state not in ENDED for spec in specs):
                search.run_all(asking, host, specs, hooks)
        self.store.delete(self.job.run_path("ray"))  # Tune's own notes, which nobody reads
        return self._write_down(time.time() - began)

    def _of_point(self, point: Point) -> Segment | None:
        """What is asked of the trial of a point; None while the same point is being trained."""
        key = point_key(point)
        if key in self.trials and self.trials[key].state in (WAITING, RUNNING):
            return None
        config = trial_config(self.config, point, self.job.start_tokens)
        if not self._note(key, point, config):
            return Segment(key, "", Diet("", ()))
        return Segment(key, config.model_dump_json(), self.diets.of(config), 0, len(self.job.marks))

    def _score_of(self, spec: Segment) -> float | None:
        """The verdict on a stretch, if the store has it; what was never started is worse than any."""
        trial = self.trials[spec.key]
        if trial.state == TOO_LARGE:
            return WORST
        found = [score_of(verdict) for verdict in trial.verdicts if verdict["mark"] == spec.last]
        return found[0] if found else None

    def _of_member(self, member: Member) -> Segment:
        """What is asked of a member of a population in one generation: train from one mark to the next."""
        config = trial_config(self.config, member.point, self.job.start_tokens)
        if not self._note(member.key, member.point, config, member.donor):
            return Segment(member.key, "", Diet("", ()))
        stretch = member.generation, member.generation + 1
        return Segment(member.key, config.model_dump_json(), self.diets.of(config), *stretch, member.donor)

    def _note(self, key: str, point: Point, config: Config, donor: str | None = None) -> bool:
        """Enter a trial into the table, with what the store knows of it; False if it does not fit into memory."""
        self.configs[key] = config
        self.trials[key] = trial = read_trial(self.store, self.job.run, key, point, config, self.job.marks)
        trial.donor = donor
        told = {"number": len(self.trials), "point": point}
        self.store.publish(self.job.run_path("trials", key, "point.json"), json.dumps(told).encode())
        self.best = best_of(self.trials.values())
        need, have = needs_gb(config, self.job.vocabulary, self.place.workers), self.place.memory_gb
        if have is not None and need > have:
            trial.state, trial.why = TOO_LARGE, f"needs {need:.1f} GB, a trial has {have:.1f} GB"
            self.say("trial", f"{key}  {trial.why}: not started")
        return trial.state != TOO_LARGE

    def _asked_before(self) -> list[Point]:
        """Points of an earlier start of this sweep, in the order in which they were proposed."""
        paths = [path for path in self.store.list(self.job.run_path("trials")) if path.endswith("/point.json")]
        told = sorted((json.loads(self.store.read(path)) for path in paths), key=lambda found: found["number"])
        return [found["point"] for found in told]

    def _judged(self, spec: Segment, verdict: dict[str, Any]) -> None:
        """A trial was judged at a mark."""
        if self.heart.lost.is_set() and not self.stopped.is_set():
            self.say("note", f"sweep {self.job.run} was taken over by another driver; this one stops")
            self.stopped.set()
        trial = self.trials[spec.key]
        if verdict["mark"] > trial.last.get("mark", 0):  # not one that the store knew before
            run, marks = self.job.run, self.job.marks
            now = read_trial(self.store, run, spec.key, trial.point, self.configs[spec.key], marks)
            trial.verdicts, trial.state = now.verdicts, now.state
            self.best = best_of(self.trials.values())
            self.say("trial", trial.line(marks, self.best))

    def _ended(self, spec: Segment, failure: str | None) -> None:
        """A trial needs no more training, or failed."""
        trial = self.trials[spec.key]
        if trial.state == TOO_LARGE:
            return
        if failure is not None:
            trial.state, trial.why = FAILED, failure
            self.say("trial", f"{spec.key}  failed: {failure}")
            return
        if self.sweep.scheduler == "asha" and self.sweep.way != "tpe" and spec.last < len(self.job.marks):
            return  # it waits at its mark
        self._end(trial, spec.last)
        if trial.state == STOPPED:
            self.say("trial", f"{spec.key}  stopped by {self.sweep.scheduler} at {trial.last['tokens']:,} tokens")
        self._let_go()

    def _end(self, trial: TrialResult, last: int) -> None:
        """Write down that a trial needs no more training; `last`: the mark it would end at."""
        mark = trial.last.get("mark", 0)
        diverged = bool(trial.verdicts) and trial.last["score"] is None
        trial.state = DIVERGED if diverged else FINISHED if mark >= last else STOPPED
        end = {"mark": mark, "state": trial.state}
        self.store.write(end_path(self.job.run, trial.key), json.dumps(end).encode())

    def _end_where_they_are(self) -> None:
        """ASHA is done: who waits at a mark stays there."""
        for trial in self.trials.values():
            if trial.state == RUNNING:
                self._end(trial, len(self.job.marks))
        self._let_go()

    def _let_go(self) -> None:
        """Delete the weights of ended trials, but for the best one's and those that a population may hand over."""
        ended = [trial for trial in self.trials.values() if trial.state in ENDED]
        newest = max((trial.last["mark"] for trial in ended), default=0) if self.sweep.scheduler == "pbt" else None
        for trial in ended:
            kept = trial is self.best or (newest is not None and trial.last["mark"] >= newest - 1)
            if not kept and trial.key not in self.let_go:
                self.let_go.add(trial.key)
                forget_weights(self.store, segment_run(self.job.run, trial.key))

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
        ordered = in_order(list(self.trials.values()))
        for line in table(ordered):
            self.say("", line)
        stopped = self.stopped.is_set()
        best = best_of(ordered)
        noise = None
        if best is not None and not stopped:
            config = self.configs[best.key]
            noise = measure_noise(self.job, best.key, config, self.diets.of(config), self.place.resources, self.say)
        found = summary(self.config, self.job, ordered, best, noise, seconds)
        if best is not None:
            values = best_values(self.config, best.point)
            self.store.write(self.job.run_path("best.yaml"), best_yaml(values, best, self.job.run).encode())
            self.say("best", f"{best.key}  {best.last['score']:.4f} bits/byte  {said(best.point)}")
            self.say("best", run_command(found["best_yaml"], values))
        self.store.write(self.job.run_path("summary.json"), json.dumps(found, indent=1).encode())
        self.say("report", write_report(self.store, self.config, self.job, ordered, found))
        if stopped:
            self.say("note", "stopped; what was trained is committed, and the same command goes on")
            return Outcome(EXIT_STOPPED, found)
        return Outcome(OK if best is not None else EXIT_FAILED, found)


def _stretch(specs: Sequence[Segment], number: int, mark: int) -> Segment:
    """The part of a trial between two marks."""
    return replace(specs[number], first=mark, last=mark + 1)
