"""How does Ray Tune run the trials of a sweep? Only this file and its searchers know it.

Tune places trials, stops them (ASHA, the median rule) and asks for points (TPE); it keeps nothing that a sweep needs.
What a trial trains, commits and is judged by is its own business, behind `Host`; a sweep that is started again asks
for the same trials, and those answer from the store, so no state of Tune is ever read back. A trial is one Tune
actor that is used again for the next trial: a new process would cost seconds of imports.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from tune.policy import WORST, Asked, AtMark, Plan
from tune.searchers import SCORE, Here, Stretches, tpe
from tune.space import Point, Space

TIME = "tokens"
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # between two marks a trial only says that it lives
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "4",
    "RAY_AIR_NEW_OUTPUT": "0",
}


Taken = TypeVar("Taken", contravariant=True)


class Running(Protocol):
    """One trial on its way."""

    def advance(self) -> Mapping[str, object]:
        """Go on for a while: {score, tokens, done, ...} at a mark, else anything without a score."""

    def close(self) -> None:
        """Commit and let go."""


class Host(Protocol[Taken]):
    """A process that runs one trial after the other."""

    def begin(self, spec: Taken, /) -> Running:
        """Take up a trial."""


@dataclass(frozen=True)
class Search:
    """Which trials are asked for, how they are stopped and where they run."""

    scheduler: str  # asha | median | none | pbt
    marks: tuple[int, ...]
    reduction: int
    concurrent: int
    resources: list[dict[str, float]]  # of each worker of a trial, the trial's own process first
    storage: str
    seed: int


@dataclass(frozen=True)
class Hooks(Generic[Asked]):
    """What the driver hears; all are called in its thread."""

    on_result: Callable[[Asked, AtMark], None]  # what was asked for, the verdict at a mark
    on_end: Callable[[Asked, str | None], None]  # what was asked for, what went wrong
    stopped: threading.Event


def run_all(search: Search, host: Callable[[], Host[Asked]], specs: Sequence[Asked], hooks: Hooks[Asked]) -> None:
    """Run these trials, in this order."""
    _fit(search, host, hooks, {"spec": tune.grid_search(list(specs))}, None, 1)


class Proposals(NamedTuple):
    """What TPE proposes from: the space, how many points, and those that were proposed before."""

    space: Space
    trials: int
    known: Sequence[Point]


def run_tpe(
    search: Search,
    host: Callable[[], Host[Asked]],
    proposals: Proposals,
    spec_of: Callable[[Point], Asked | None],
    hooks: Hooks[Asked],
) -> None:
    """Let Optuna's TPE propose points; those that a killed sweep had proposed come first."""
    sampler = tpe(proposals.space, proposals.known, spec_of, search.seed)
    _fit(search, host, hooks, {}, sampler, proposals.trials)


def run_stretches(
    search: Search,
    host: Callable[[], Host[Asked]],
    plan: Plan[Asked],
    known: Callable[[Asked], float | None],
    hooks: Hooks[Asked],
) -> None:
    """Train stretches between two marks as a plan asks for them; each that is not `known` already is a Tune trial."""
    searcher = Stretches(plan, known)
    if searcher.has_more():
        _fit(search, host, hooks, {}, searcher, plan.most)


def _fit(
    search: Search,
    host: Callable[[], Host[Asked]],
    hooks: Hooks[Asked],
    space: Mapping[str, object],
    searcher: Searcher | None,
    count: int,
) -> None:
    os.environ |= ENVIRONMENT
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Trainable, host=host), tune.PlacementGroupFactory(search.resources)),
        param_space=dict(space),
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="min",
            num_samples=count,
            scheduler=_scheduler(search),
            max_concurrent_trials=search.concurrent,
            reuse_actors=True,
            trial_dirname_creator=_name_of,
            search_alg=searcher,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=search.storage,
            stop=_StopAll(hooks.stopped),
            callbacks=[_Tell(hooks)],
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except tune.TuneError as error:
        raise RuntimeError(f"Ray Tune ended the sweep: {' '.join(str(error).split())[-300:]}") from error


def _name_of(trial: Trial) -> str:
    return str(trial.trial_id)


def _scheduler(search: Search) -> TrialScheduler:
    if search.scheduler == "asha":
        return tune.schedulers.ASHAScheduler(
            time_attr=TIME,
            grace_period=search.marks[0],
            max_t=search.marks[-1],
            reduction_factor=search.reduction,
        )
    if search.scheduler == "median":
        return tune.schedulers.MedianStoppingRule(time_attr=TIME, grace_period=search.marks[0], min_samples_required=3)
    return tune.schedulers.FIFOScheduler()


class _Trainable(tune.Trainable, Generic[Asked]):
    """What Tune sees of a process that runs trials."""

    def setup(self, config: Mapping[str, Asked], host: Callable[[], Host[Asked]]) -> None:
        self.host = host()
        self.running: Running = self.host.begin(config["spec"])

    def reset_config(self, new_config: Mapping[str, Asked]) -> bool:
        self.running.close()
        self.running = self.host.begin(new_config["spec"])
        return True

    def step(self) -> dict[str, object]:
        result = dict(self.running.advance())
        if SCORE in result and result[SCORE] is None:
            return {**result, SCORE: WORST, "diverged": True}
        return result

    def cleanup(self) -> None:
        self.running.close()


class _StopAll(Stopper):
    def __init__(self, stopped: threading.Event) -> None:
        self.stopped = Here(stopped)

    def __call__(self, trial_id: str, result: Mapping[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.stopped.thing.is_set()


class _Tell(tune.Callback, Generic[Asked]):
    def __init__(self, hooks: Hooks[Asked]) -> None:
        self.here = Here(hooks)

    @property
    def hooks(self) -> Hooks[Asked]:
        return self.here.thing

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: AtMark, **_: object) -> None:
        if SCORE in result:
            self.hooks.on_result(trial.config["spec"], result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: object) -> None:
        if not self.hooks.stopped.is_set():
            self.hooks.on_end(trial.config["spec"], None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: object) -> None:
        error = trial.get_pickled_error() or trial.get_error()
        said = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
        self.hooks.on_end(trial.config["spec"], said[-1] if said else "it failed")
