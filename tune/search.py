"""How does Ray Tune run the trials of a sweep? The only file that knows it.

Tune places trials, stops them (ASHA, the median rule) and asks for points (TPE); it keeps nothing that a sweep needs.
What a trial trains, commits and is judged by is its own business, behind `Host`; a sweep that is started again asks
for the same trials, and those answer from the store, so no state of Tune is ever read back. A trial is one Tune
actor that is used again for the next trial: a new process would cost seconds of imports.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from tune.policy import WORST, Plan
from tune.space import Point, Space

TIME, SCORE = "tokens", "score"
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # between two marks a trial only says that it lives
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "4",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class Running(Protocol):
    """One trial on its way."""

    def advance(self) -> dict[str, Any]:
        """Go on for a while: {score, tokens, done, ...} at a mark, else anything without a score."""

    def close(self) -> None:
        """Commit and let go."""


class Host(Protocol):
    """A process that runs one trial after the other."""

    def begin(self, spec: Any) -> Running:
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
class Hooks:
    """What the driver hears; all are called in its thread."""

    on_result: Callable[[Any, dict[str, Any]], None]  # what was asked for, the verdict at a mark
    on_end: Callable[[Any, str | None], None]  # what was asked for, what went wrong
    stopped: threading.Event


def run_all(search: Search, host: Callable[[], Host], specs: Sequence[Any], hooks: Hooks) -> None:
    """Run these trials, in this order."""
    space = {"spec": tune.grid_search(list(specs))}
    _fit(search, host, hooks, param_space=space)


class Proposals(NamedTuple):
    """What TPE proposes from: the space, how many points, and those that were proposed before."""

    space: Space
    trials: int
    known: Sequence[Point]


def run_tpe(
    search: Search, host: Callable[[], Host], proposals: Proposals, spec_of: Callable[[Point], Any], hooks: Hooks
) -> None:
    """Let Optuna's TPE propose points; those that a killed sweep had proposed come first."""
    asked = _tpe(proposals.space, proposals.known, spec_of, search.seed)
    _fit(search, host, hooks, search_alg=asked, num_samples=proposals.trials)


def run_stretches(
    search: Search, host: Callable[[], Host], plan: Plan, known: Callable[[Any], float | None], hooks: Hooks
) -> None:
    """Train stretches between two marks as a plan asks for them; each that is not `known` already is a Tune trial."""
    searcher = _Stretches(plan, known)
    if searcher.has_more():
        _fit(search, host, hooks, search_alg=searcher, num_samples=plan.most)


def _fit(search: Search, host: Callable[[], Host], hooks: Hooks, **asked: Any) -> None:
    os.environ |= ENVIRONMENT
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    param_space, count = asked.pop("param_space", {}), asked.pop("num_samples", 1)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Trainable, host=host), tune.PlacementGroupFactory(search.resources)),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="min",
            num_samples=count,
            scheduler=_scheduler(search),
            max_concurrent_trials=search.concurrent,
            reuse_actors=True,
            trial_dirname_creator=_name_of,
            **asked,
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


def _name_of(trial: Any) -> str:
    return str(trial.trial_id)


def _scheduler(search: Search) -> Any:
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


class _Here:
    """Something of the driver that Tune carries along: it pickles as nothing: nothing of Tune's is read back."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __reduce__(self) -> tuple[Any, ...]:
        return _Here, (None,)


class _Trainable(tune.Trainable):
    """What Tune sees of a process that runs trials."""

    def setup(self, config: dict[str, Any], host: Any = None) -> None:
        self.host = host()
        self.running: Running = self.host.begin(config["spec"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.running.close()
        self.running = self.host.begin(new_config["spec"])
        return True

    def step(self) -> dict[str, Any]:
        result = self.running.advance()
        if SCORE in result and result[SCORE] is None:
            return {**result, SCORE: WORST, "diverged": True}
        return result

    def cleanup(self) -> None:
        self.running.close()


class _StopAll(Stopper):
    def __init__(self, stopped: threading.Event) -> None:
        self.stopped = _Here(stopped)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self.stopped.thing.is_set())


class _Tell(tune.Callback):
    def __init__(self, hooks: Hooks) -> None:
        self.here = _Here(hooks)

    @property
    def hooks(self) -> Hooks:
        return cast(Hooks, self.here.thing)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if SCORE in result:
            self.hooks.on_result(trial.config["spec"], result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if not self.hooks.stopped.is_set():
            self.hooks.on_end(trial.config["spec"], None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        error = trial.get_pickled_error() or trial.get_error()
        said = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
        self.hooks.on_end(trial.config["spec"], said[-1] if said else "it failed")


class _Stretches(Searcher):
    """Hands out what a plan asks for, as verdicts come in."""

    def __init__(self, plan: Plan, known: Callable[[Any], float | None]) -> None:
        super().__init__(metric=SCORE, mode="min")
        self.here = _Here((plan, known))
        self.ready: list[Any] = []
        self.asked: dict[str, Any] = {}

    def has_more(self) -> bool:
        """Is there a stretch that nobody has trained yet?"""
        spec = self._next()
        if spec is not None:
            self.ready.append(spec)
        return spec is not None

    def suggest(self, trial_id: str) -> Any:
        spec = self.ready.pop() if self.ready else self._next()
        if spec is None:
            return Searcher.FINISHED if self.here.thing[0].is_done else None
        self.asked[trial_id] = spec
        return {"spec": spec}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        score = WORST if error else (result or {}).get(SCORE)
        spec = self.asked.pop(trial_id)
        if score is not None:  # else it was stopped on its way, with all the others
            self.here.thing[0].judged(spec, score)

    def _next(self) -> Any:
        """The next stretch that has no verdict; those that have one are told to the plan at once."""
        plan, known = self.here.thing
        while (spec := plan.next()) is not None:
            score = known(spec)
            if score is None:
                return spec
            plan.judged(spec, score)
        return None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store knows."""


def _tpe(space: Space, known: Sequence[Point], spec_of: Callable[[Point], Any], seed: int) -> Any:
    """Optuna's TPE over shares of [0, 1), or places in a list: logarithms and steps are the space's business."""
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "sweep.search=tpe needs Optuna: pip install 'headrace[tune]', or use sweep.search=random"
        ) from None
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    here = _Here(spec_of)

    class Tpe(OptunaSearch):
        def suggest(self, trial_id: str) -> Any:
            spec = here.thing(space.decode(super().suggest(trial_id)))
            return None if spec is None else {"spec": spec}  # None: that point is being trained; ask again

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            """Leave pruning to the scheduler."""

    shares = {
        d.path: optuna.distributions.CategoricalDistribution(range(len(d.values)))
        if d.values is not None
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for d in space.dimensions
    }
    return Tpe(
        space=shares,
        metric=SCORE,
        mode="min",
        seed=seed % 2**32,
        points_to_evaluate=[space.encode(point) for point in known] or None,
    )
