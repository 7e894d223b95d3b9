"""Which trial does Ray Tune begin next? What a plan asks for, or what Optuna's TPE proposes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from ray.tune.search import Searcher

from tune.policy import WORST, Asked, AtMark, NamedStretch, Plan
from tune.space import Point, Space

SCORE = "score"
Thing = TypeVar("Thing")


class Here(Generic[Thing]):
    """Something of the driver that Tune carries along: it pickles as nothing: nothing of Tune's is read back."""

    def __init__(self, thing: Thing) -> None:
        self.thing = thing

    def __reduce__(self) -> tuple[type, tuple[None]]:
        return Here, (None,)


class Stretches(Searcher, Generic[Asked]):
    """Hands out what a plan asks for, as verdicts come in."""

    def __init__(self, plan: Plan[Asked], known: Callable[[Asked], float | None]) -> None:
        super().__init__(metric=SCORE, mode="min")
        self.here = Here((plan, known))
        self.ready: list[Asked] = []
        self.asked: dict[str, Asked] = {}

    def has_more(self) -> bool:
        """Is there a stretch that nobody has trained yet?"""
        spec = self._next()
        if spec is not None:
            self.ready.append(spec)
        return spec is not None

    def suggest(self, trial_id: str) -> object:
        """The next stretch; None: ask again when more verdicts are in; FINISHED: there is none."""
        spec = self.ready.pop() if self.ready else self._next()
        if spec is None:
            return Searcher.FINISHED if self.here.thing[0].is_done else None
        self.asked[trial_id] = spec
        return {"spec": spec}

    def on_trial_complete(self, trial_id: str, result: AtMark | None = None, error: bool = False) -> None:
        """Tell the plan how good a stretch was; one that failed is the worst."""
        score = WORST if error else result.get("score") if result else None
        spec = self.asked.pop(trial_id)
        if score is not None:  # else it was stopped on its way, with all the others
            self.here.thing[0].judged(spec, score)

    def _next(self) -> Asked | None:
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


def tpe(space: Space, known: Sequence[Point], spec_of: Callable[[Point], NamedStretch | None], seed: int) -> Searcher:
    """Optuna's TPE over shares of [0, 1), or places in a list: logarithms and steps are the space's business."""
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "sweep.search=tpe needs Optuna: pip install 'headrace[tune]', or use sweep.search=random"
        ) from None
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    here = Here(spec_of)

    class Tpe(OptunaSearch):
        def suggest(self, trial_id: str) -> object:
            spec = here.thing(space.decode(super().suggest(trial_id)))
            return None if spec is None else {"spec": spec}  # None: that point is being trained; ask again

        def on_trial_result(self, trial_id: str, result: Mapping[str, object]) -> None:
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
