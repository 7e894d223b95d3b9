"""Which members does a population have in a generation? What was decided first is what is trained and shown.

A generation is written down once, before any of it is trained: who failed may succeed after the next start, and the
same rule would then choose others, under names that have been trained with other settings.
"""

from collections.abc import Callable
from dataclasses import asdict

import msgspec

from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json, read_json, write_json
from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import run_path
from ray_jobs.sweep.capacity import Room, needs_gb
from ray_jobs.sweep.prepare import Diets
from ray_jobs.sweep.question import sweep_of, trial_config
from ray_jobs.sweep.result import (
    DIVERGED,
    ENDED,
    FAILED,
    FINISHED,
    IMPOSSIBLE,
    REFUSED,
    RUNNING,
    STOPPED,
    TOO_LARGE,
    WAITING,
    TrialResult,
    best_of,
    forget_weights,
    read_trial,
)
from ray_jobs.sweep.trial.job import Segment, SweepJob, TrialEnd, end_path, segment_run
from ray_jobs.sweep.trial.recorded_rounds import Diet
from ray_jobs.sweep.trial.score import score_of
from tune.policy import WORST, Member
from tune.space import BATCH, RATE, Point, point_key


class Generation(msgspec.Struct):
    """The members of one generation, as they are written down; an older version wrote a list alone."""

    members: list[Member]


class AskedPoint(msgspec.Struct):
    """The settings of a trial, and as which of all it was asked for."""

    number: int
    point: Point


def keep_generation(store: Store, run: str, decided: list[Member]) -> list[Member]:
    """Write a generation of sweep `run` down unless it stands there already; what stands there."""
    path = _path(run, decided[0].generation)
    publish_json(store, path, {"members": [asdict(member) for member in decided]})
    try:
        return read_json(store, path, Generation).members
    except DamagedError:
        return read_json(store, path, list[Member])  # as an older version wrote it


def is_decided(store: Store, run: str, generation: int) -> bool:
    """Do the members of that generation stand? Then nothing of the one before is trained any more."""
    return store.exists(_path(run, generation))


def _path(run: str, generation: int) -> str:
    return run_path(run, "generations", f"{generation:02d}.json")


class Table:
    """The trials of one sweep, in the order in which they were asked for."""

    def __init__(
        self, config: Config, store: Store, job: SweepJob, place: Room, say: Callable[[str, str], None]
    ) -> None:
        self.config, self.store, self.job, self.place, self.say = config, store, job, place, say
        self.is_population = sweep_of(config).scheduler == "pbt"
        self.diets = Diets(config, store, job)
        self.trials: dict[str, TrialResult] = {}
        self.configs: dict[str, Config] = {}
        self.best: TrialResult | None = None
        self.let_go: set[str] = set()  # trials whose weights are deleted

    def of_point(self, point: Point) -> Segment | None:
        """What is asked of the trial of a point; None while the same point is being trained."""
        key = point_key(point)
        if key in self.trials and self.trials[key].state in (WAITING, RUNNING):
            return None
        return self._enter(TrialResult(key, point), 0, len(self.job.marks))

    def of_member(self, member: Member) -> Segment:
        """What is asked of a member of a population in one generation: train from one mark to the next."""
        trial = TrialResult(member.key, member.point, donor=member.donor)
        return self._enter(trial, member.generation, member.generation + 1)

    def known_score(self, spec: Segment) -> float | None:
        """What the store says of a stretch; the worst of what is refused, or failed in a generation that is past."""
        trial = self.trials[spec.key]
        if trial.state in REFUSED:
            return WORST
        for verdict in trial.verdicts:
            if verdict["mark"] == spec.last:
                return score_of(verdict)
        is_past = self.is_population and is_decided(self.store, self.job.run, spec.last)
        return WORST if is_past else None

    def asked_before(self) -> list[Point]:
        """Points of an earlier start of this sweep, in the order in which they were proposed."""
        paths = [path for path in self.store.list(self.job.run_path("trials")) if path.endswith("/point.json")]
        asked = (read_json(self.store, path, AskedPoint) for path in paths)
        return [asked.point for asked in sorted(asked, key=lambda asked: asked.number)]

    def judged(self, spec: Segment, mark: int) -> bool:
        """Take the verdict at a mark, which stands in the store; False if it was known."""
        trial = self.trials[spec.key]
        if mark <= trial.mark:
            return False
        now = self._read(spec.key, trial.point, self.configs[spec.key])
        trial.verdicts, trial.state, trial.why = now.verdicts, RUNNING if now.state == FAILED else now.state, ""
        self.best = best_of(self.trials.values())
        return True

    def failed(self, trial: TrialResult, why: str, *, keep: bool) -> None:
        """A trial failed; keep: write it down, for a population goes on without it."""
        trial.state, trial.why = FAILED, why
        self.say("trial", f"{trial.key}  failed: {why}")
        if keep and self.is_population:
            self._write_end(trial, trial.mark)

    def end(self, trial: TrialResult, last: int) -> None:
        """Write down that a trial needs no more training; `last`: the mark it would end at."""
        mark = trial.mark
        diverged = bool(trial.verdicts) and trial.last["score"] is None
        trial.state, trial.why = DIVERGED if diverged else FINISHED if mark >= last else STOPPED, ""
        self._write_end(trial, mark)

    def end_where_they_are(self) -> None:
        """ASHA is done: who waits at a mark stays there."""
        for trial in self.trials.values():
            if trial.state == RUNNING:
                self.end(trial, len(self.job.marks))
        self.forget()

    def forget(self) -> None:
        """Delete the weights of ended trials, but for the best one's and those that a population may hand over."""
        ended = [trial for trial in self.trials.values() if trial.state in ENDED]
        newest = max((trial.mark for trial in ended), default=0) if self.is_population else None
        for trial in ended:
            kept = trial is self.best or (newest is not None and trial.mark >= newest - 1)
            if not kept and trial.key not in self.let_go:
                self.let_go.add(trial.key)
                forget_weights(self.store, segment_run(self.job.run, trial.key))

    def _enter(self, trial: TrialResult, first: int, last: int) -> Segment:
        """Enter a trial with what the store knows of it; what is asked of it: nothing if it is refused."""
        key, point = trial.key, trial.point
        asked = AskedPoint(len(self.trials) + (key not in self.trials), point)
        publish_json(self.store, self.job.run_path("trials", key, "point.json"), asked)
        self.trials[key] = trial
        try:
            config = trial_config(self.config, point, self.job.start_tokens)
            diet = self.diets.of(config)
        except ConfigError as error:  # settings that only go wrong together, which a sampler proposes
            trial.batch_tokens = point.get(BATCH, self.config.engine.batch_tokens)
            trial.lr = point.get(RATE, self.config.optim.lr)
            return self._refuse(trial, IMPOSSIBLE, " ".join(str(error).split()))
        self.configs[key] = config
        donor, trial = trial.donor, self._read(key, point, config)
        trial.donor, self.trials[key] = donor, trial
        self.best = best_of(self.trials.values())
        need, have = needs_gb(config, self.job.vocabulary, self.place.workers), self.place.memory_gb
        if have is not None and need > have:
            return self._refuse(trial, TOO_LARGE, f"needs {need:.1f} GB, a trial has {have:.1f} GB")
        return Segment(key, config.model_dump_json(), diet, first, last, donor)

    def _read(self, key: str, point: Point, config: Config) -> TrialResult:
        return read_trial(self.job, self.store, key, point, config.engine.batch_tokens, config.optim.lr)

    def _refuse(self, trial: TrialResult, state: str, why: str) -> Segment:
        trial.state, trial.why = state, why
        self.say("trial", f"{trial.key}  {why}: not started")
        return Segment(trial.key, "", Diet("", ()))

    def _write_end(self, trial: TrialResult, mark: int) -> None:
        end: TrialEnd = {"mark": mark, "state": trial.state, "why": trial.why}
        write_json(self.store, end_path(self.job.run, trial.key), end)
