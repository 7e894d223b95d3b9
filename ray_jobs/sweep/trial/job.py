"""What is a trial told, and where in the store does it put what it finds?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ray_jobs.store.paths import run_path
from ray_jobs.sweep.trial.recorded_rounds import Diet


@dataclass(frozen=True)
class SweepJob:
    """What all trials of a sweep share; written down once in the store."""

    run: str  # under which everything of the sweep stands: runs/<run>/...
    store: str
    tokenizer: str
    start: str | None  # name of the checkpoint every trial starts from; None: from scratch
    start_tokens: int
    place: tuple[int, ...]  # in the log of kept documents, behind which the rounds begin
    marks: tuple[int, ...]
    last_window: int  # up to which held-out text is scored
    fresh: tuple[str, ...]  # slices that the start has not been given
    average: float
    old_share: float
    vocabulary: int
    behind: str = ""  # JSON of where the run stands, source by source; "" where `place` says all of it

    def run_path(self, *parts: str) -> str:
        """Where something of the sweep stands in the store."""
        return run_path(self.run, *parts)


@dataclass(frozen=True)
class Segment:
    """One stretch of training to do: a trial from its start to its end or, under pbt, between two marks."""

    key: str
    config: str  # JSON of the whole configuration
    diet: Diet
    first: int = 0  # the mark it starts behind; 0: the sweep's start
    last: int = 0  # the mark it ends at, counted from 1
    donor: str | None = None  # key of the segment whose weights it goes on with


class MarkVerdict(TypedDict):
    """What was found of a segment at a mark, as it stands in the store; bits are a byte of averaged weights."""

    key: str
    mark: int
    tokens: int  # at which trials are compared
    trained: int
    begun: int
    steps: NotRequired[int]
    skipped: NotRequired[int]
    score: float | None  # None: it has diverged
    fresh: float | None
    old: float | None
    slices: dict[str, float]
    curve: list[list[int | float]]  # [tokens, loss]
    train_seconds: float
    judge_seconds: NotRequired[float]


class TrialEnd(TypedDict):
    """Where and why a segment needs no more training."""

    mark: int
    state: str
    why: NotRequired[str]


def segment_run(sweep: str, key: str) -> str:
    """Under which name a segment's checkpoints are committed."""
    return f"{sweep}/trials/{key}"


def result_path(sweep: str, key: str, mark: int) -> str:
    """Where the verdict at a mark stands."""
    return run_path(segment_run(sweep, key), f"mark-{mark:02d}.json")


def end_path(sweep: str, key: str) -> str:
    """Where it stands that a segment needs no more training: {mark, state, why}."""
    return run_path(segment_run(sweep, key), "end.json")


class Refused:
    """A trial that does not fit into memory, or is impossible; a sampler that proposed it hears that it is bad."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def advance(self) -> Mapping[str, object]:
        """Say that there is no score."""
        return {"score": None, "tokens": self.tokens, "mark": 0, "done": True}

    def close(self) -> None:
        """Nothing was taken."""


def start_run(run: str) -> str:
    """Under which name the copy is committed that the trials of a sweep load."""
    return f"{run}/start"
