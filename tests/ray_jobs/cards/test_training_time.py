"""Are the steps summed that are in the weights, each as often as it was trained, on the workers it had?"""

from pathlib import Path

from cluster.storage.store import Store
from cluster.telemetry.json_lines import JsonLines
from ray_jobs.cards.training_time import TrainingTime, time_of, training_time
from ray_jobs.training.events import BranchBegun, Event, Started, StepDone, event_kind, event_to_row


def step(number: int, seconds: float, *, branch: bool = False) -> StepDone:
    return StepDone(step=number, seconds=seconds, branch=branch)


EVENTS: list[Event] = [
    Started(step=0, workers=2),
    step(1, 1.0),
    step(2, 1.0),
    Started(step=1, workers=4),  # step 2 was lost, and is trained again
    step(2, 1.0),
    BranchBegun(step=2),
    step(3, 0.5, branch=True),
    step(4, 0.5, branch=True),
    step(3, 2.0),
    BranchBegun(step=3),
    step(4, 0.25, branch=True),
    step(4, 2.0),
]


def test_the_main_line_counts_its_own_steps_and_those_trained_again() -> None:
    assert time_of(EVENTS, 2) == TrainingTime(3.0, 8.0, 3)
    assert time_of(EVENTS, 3) == TrainingTime(5.0, 16.0, 4)


def test_a_branch_counts_its_own_steps_alone() -> None:
    assert time_of(EVENTS, 4, 2) == TrainingTime(1.0, 4.0, 2)
    assert time_of(EVENTS, 4, 3) == TrainingTime(0.25, 1.0, 1)


def test_a_candidate_is_its_branch_and_the_line_that_it_left(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    log = JsonLines(store, "runs/news/metrics.jsonl")
    for event in EVENTS:
        log.log({"event": event_kind(event), **event_to_row(event)})
    log.close()
    found = training_time(store, ["news@00000002/00000004", "news/00000002", "base@12/00000000"])
    assert found == TrainingTime(4.0, 12.0, 5)
    assert training_time(store, ["nobody/00000001"]) == TrainingTime()
