"""What follows from the verdicts of a sweep? Pure decisions: who is best, and who takes over whose weights.

Nothing here trains or reads; the same verdicts always give the same decision, which is what lets a killed sweep go on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypedDict, TypeVar

from pydantic import JsonValue

from tune.space import Dimension, Point, Space, share_of

QUANTILE = 0.25  # of a population that gives up its weights, and that hands them over (Jaderberg et al. 2017)
FACTORS = (0.8, 1.25)  # by which a copied number is changed
RESAMPLE = 0.25  # chance that a copied value is drawn anew instead
WORST = 1e3  # the score of a trial that has none, diverged or failed: worse than any model


class TrialStanding(TypedDict):
    """Where a trial stands by its last verdict; score: bits per byte, None where it has diverged."""

    key: str
    tokens: int
    score: float | None


class AtMark(TypedDict, total=False):
    """What a verdict has that decides while trials run; what else it has is the trial's business."""

    score: float | None
    tokens: int
    mark: int


class NamedStretch(Protocol):
    """What is asked of a trial: a stretch of training that has a name."""

    @property
    def key(self) -> str:
        """Its name."""


AnyTrial = TypeVar("AnyTrial", bound=TrialStanding)
Asked = TypeVar("Asked", bound=NamedStretch)


def ranked(verdicts: Sequence[AnyTrial]) -> list[AnyTrial]:
    """Order trials by their last verdict: who got further first, then by score, then by key; diverged ones last."""
    return sorted(verdicts, key=lambda v: (v["score"] is None, -v["tokens"], v["score"] or 0.0, v["key"]))


@dataclass(frozen=True)
class Member:
    """One member of a population in one generation: what it trains with, and whose weights it goes on with."""

    generation: int
    number: int
    point: Point
    donor: str | None = None  # key of the member of the generation before; None: the weights the sweep starts from

    @property
    def key(self) -> str:
        """Its name."""
        return f"g{self.generation:02d}m{self.number:02d}"


def next_generation(members: Sequence[Member], scores: Mapping[str, float], space: Space, seed: int) -> list[Member]:
    """Truncation selection: the worst quarter takes over weights and settings of the best, and changes the settings.

    Jaderberg et al. 2017, section 4; synchronous, so that all are compared at the same tokens. A member without a
    score, diverged or failed, is always replaced and hands nothing over; if none has one, all begin anew (donor None).
    """
    order = sorted(members, key=lambda m: (scores[m.key], m.number))
    count = max(1, int(len(order) * QUANTILE)) if len(order) > 1 else 0
    alive = [member for member in order if scores[member.key] < WORST]
    best, worst = alive[:count], [m for m in order[len(order) - count :] if m not in alive[:count]]
    successors = []
    for member in members:
        generation = member.generation + 1
        if member in worst or member not in alive:
            draw = share_of(seed, member.number, f"donor/{generation}")
            donor = best[int(draw * len(best))] if best else None
            point = explore((donor or member).point, space, seed, generation * len(members) + member.number)
        else:
            donor, point = member, member.point
        successors.append(Member(generation, member.number, point, donor.key if donor else None))
    return successors


def explore(point: Point, space: Space, seed: int, number: int) -> Point:
    """Change every setting of a copied point: times 0.8 or 1.25, a neighbour in a list, or now and then anew."""
    changed = dict(point)
    for dimension in space.dimensions:
        draw = share_of(seed, number, f"explore/{dimension.path}")
        if draw < RESAMPLE:
            changed[dimension.path] = dimension.at(draw / RESAMPLE)
        else:
            up = draw >= (1 + RESAMPLE) / 2
            changed[dimension.path] = _moved(dimension, point, up)
    return changed


def _moved(dimension: Dimension, point: Point, up: bool) -> JsonValue:
    value = point[dimension.path]
    if dimension.values is not None:
        place = dimension.values.index(value) + (1 if up else -1)
        return dimension.values[min(max(place, 0), len(dimension.values) - 1)]
    return dimension.near(value * FACTORS[up])


class Plan(Protocol[Asked]):
    """Decides which stretch of training, between two marks, comes next."""

    @property
    def most(self) -> int:
        """Stretches at most."""

    @property
    def is_done(self) -> bool:
        """Will nothing be asked for any more?"""

    def next(self) -> Asked | None:
        """The next stretch; None while that depends on verdicts to come."""

    def judged(self, spec: Asked, score: float) -> None:
        """Take a verdict."""


@dataclass
class Population(Generic[Asked]):
    """A population on its way through its generations; `next` and `judged` are its only moves."""

    members: list[Member]
    generations: int
    space: Space
    seed: int
    spec_of: Callable[[Member], Asked]  # what is asked of it
    keep: Callable[[list[Member]], list[Member]] = lambda decided: decided  # write a generation down, or read it back
    waiting: list[Member] = field(default_factory=list)
    running: dict[str, Member] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    generation: int = 0

    def __post_init__(self) -> None:
        self.waiting = list(self.members)

    @property
    def most(self) -> int:
        """Stretches between two marks that are asked for."""
        return len(self.members) * self.generations

    @property
    def is_done(self) -> bool:
        """Is the last generation handed out?"""
        return not self.waiting and self.generation == self.generations - 1

    def next(self) -> Asked | None:
        """Hand out the next segment; None while the generation is not judged."""
        if not self.waiting:
            return None
        member = self.waiting.pop(0)
        spec = self.spec_of(member)
        self.running[member.key] = member
        return spec

    def judged(self, spec: Asked, score: float) -> None:
        """Take a verdict; after the last of a generation the next one is known."""
        self.scores[spec.key] = score
        del self.running[spec.key]
        if self.waiting or self.running or self.generation == self.generations - 1:
            return
        self.members = self.keep(next_generation(self.members, self.scores, self.space, self.seed))
        self.generation += 1
        self.waiting = list(self.members)


@dataclass
class Halving(Generic[Asked]):
    """Asynchronous successive halving: all trials to the first mark, then the best 1/reduction of each mark further.

    ASHA as published (Li et al. 2020, algorithm 2): a trial waits at its mark until it is promoted, and nothing is
    trained on suspicion, where a rule that only stops trials lets the first ones through. Three departures, as the
    number of trials is given: new trials come before promotions and promotions from an early mark before those from a
    later one, so that each choice is among as many as can be without anyone waiting; and when nothing else is left
    the best of the furthest mark goes on, so that one trial reaches the end. Who is promoted depends on the order in
    which verdicts arrive; a halving that goes on takes those of before as they are, so none is lost: who has a
    verdict was promoted.
    """

    count: int  # trials
    marks: int
    reduction: int
    spec_of: Callable[[int, int], Asked]  # number of a trial, mark it stands at -> what is asked of it
    known: Mapping[int, Sequence[float]] = field(default_factory=dict)  # scores of an earlier start, mark by mark
    waiting: list[int] = field(default_factory=list)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    scores: list[dict[int, float]] = field(default_factory=list)  # at each mark
    promoted: list[set[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [number for number in range(self.count) if not self.known.get(number)]
        self.scores = [{} for _ in range(self.marks)]
        self.promoted = [set() for _ in range(self.marks)]
        for number, found in self.known.items():
            for mark, score in enumerate(found):
                self.scores[mark][number] = score
                if mark:
                    self.promoted[mark - 1].add(number)

    @property
    def most(self) -> int:
        """Stretches between two marks that can be asked for."""
        return self.count * self.marks

    @property
    def is_done(self) -> bool:
        """Is nothing left that could go on?"""
        return not self.waiting and not self.running and self._best() is None

    def next(self) -> Asked | None:
        """Hand out the next stretch; None while it depends on those that run."""
        if self.waiting:
            return self._hand_out(self.waiting.pop(0), 0)
        found = self._best()
        if found is None:
            return None
        number, mark = found
        self.promoted[mark].add(number)
        return self._hand_out(number, mark + 1)

    def judged(self, spec: Asked, score: float) -> None:
        """Take the verdict on a stretch."""
        number, mark = self.running.pop(spec.key)
        self.scores[mark][number] = score

    def _hand_out(self, number: int, mark: int) -> Asked:
        spec = self.spec_of(number, mark)
        self.running[spec.key] = number, mark
        return spec

    def _best(self) -> tuple[int, int] | None:
        """Who goes on, from which mark; the earliest first."""
        for mark in range(self.marks - 1):
            order = sorted(self.scores[mark], key=lambda n: (self.scores[mark][n], n))
            for number in order[: len(order) // self.reduction]:
                if number not in self.promoted[mark]:
                    return number, mark
        reached = max((mark for mark, judged in enumerate(self.scores) if judged), default=self.marks - 1)
        if self.running or self.waiting or reached == self.marks - 1:
            return None
        furthest = self.scores[reached]
        return min(furthest, key=lambda n: (furthest[n], n)), reached
