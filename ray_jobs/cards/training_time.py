"""How long did the steps take that are in the weights of a checkpoint, and on how many workers?

Summed over the events of its runs, line by line. Steps that a fault made a run train again count each time, as they
used the machine each time; the start of workers, evaluation and ingest do not. Lines that a kill took are missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.storage.store import Store
from ray_jobs.training.events import BranchBegun, Event, Started, StepDone, each_event


@dataclass(frozen=True)
class TrainingTime:
    """Seconds of the steps, the same times the workers that they ran on, and how many steps there were."""

    seconds: float = 0.0
    worker_s: float = 0.0
    steps: int = 0

    def plus(self, other: "TrainingTime") -> "TrainingTime":
        """The sum of both."""
        steps = self.steps + other.steps
        return TrainingTime(self.seconds + other.seconds, self.worker_s + other.worker_s, steps)


def training_time(store: Store, checkpoints: Iterable[str]) -> TrainingTime:
    """Sum the steps up to each of these checkpoints (run/step), each the end of another run or of a branch."""
    found = TrainingTime()
    for name in checkpoints:
        run, _, step = name.rpartition("/")
        main, _, left = run.partition("@")
        if main != "base":
            found = found.plus(time_of(each_event(store, main), int(step), int(left) if left.isdecimal() else None))
    return found


def time_of(events: Iterable[Event], step: int, left_at: int | None = None) -> TrainingTime:
    """Sum a run's steps up to one; left_at: those alone of the branch that left the main line there."""
    workers, branch, found = 1, None, TrainingTime()
    for event in events:
        match event:
            case Started():
                workers, branch = event.workers, None
            case BranchBegun():
                branch = event.step
            case StepDone() if event.step <= step and (branch == left_at if event.branch else left_at is None):
                found = found.plus(TrainingTime(event.seconds, event.seconds * workers, 1))
            case _:
                pass
    return found
