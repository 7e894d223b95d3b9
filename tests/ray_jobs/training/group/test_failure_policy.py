"""When a restart is of no more use, and only then, the run is stopped."""

from hypothesis import given
from hypothesis import strategies as st

from ray_jobs.training.events import Committed, Event, Fault, Started, StepDone
from ray_jobs.training.group.failure_policy import FRUITLESS_STARTS, STUCK_STARTS, GroupHealth


def told(health: GroupHealth, *events: Event) -> list[str | None]:
    return [health.update(event) for event in events]


def fault(rank: int, text: str, time: float = 0.0) -> Fault:
    return Fault(rank=rank, text=text, time=time)


STARTED = Started(step=0, workers=2)
STEP = StepDone(step=1)


def test_the_same_fault_of_the_same_rank_twice_without_a_step_stops_the_run() -> None:
    assert told(GroupHealth(), fault(0, "no"), STARTED, fault(0, "no")) == [None, None, "no"]


def test_one_incident_told_by_every_rank_is_one_incident() -> None:
    assert told(GroupHealth(), *(fault(rank, "lost") for rank in range(8))) == [None] * 8


def test_a_fault_that_comes_again_after_progress_is_another_accident() -> None:
    assert told(GroupHealth(), fault(0, "lost"), STEP, fault(0, "lost")) == [None, None, None]


def test_worker_groups_that_train_nothing_are_given_up_after_some() -> None:
    health = GroupHealth()
    assert told(health, *[STARTED] * FRUITLESS_STARTS) == [None] * FRUITLESS_STARTS
    assert "trained no step" in (health.update(STARTED) or "")


def test_groups_that_all_end_at_the_same_place_are_given_up_after_some() -> None:
    again = [STARTED, StepDone(step=499), StepDone(step=500), fault(0, "out of memory")]
    health = GroupHealth()
    groups = STUCK_STARTS + 1  # of which the first comes further than any before
    assert told(health, *again * groups) == [None] * 4 * groups
    assert (
        health.update(STARTED) == f"{STUCK_STARTS} worker groups in a row came no further than step 500; out of memory"
    )


def test_a_new_commit_is_progress_though_no_step_is() -> None:
    health = GroupHealth()
    health.update(StepDone(step=500))
    for step in range(100, 140):  # each group repeats what was lost, commits a little more, and dies
        redone = StepDone(step=step)
        assert told(health, STARTED, redone, Committed(step=step)) == [None] * 3


def test_faults_of_a_network_count_by_time_not_by_number() -> None:
    health = GroupHealth()

    def away(time: float) -> Fault:
        return fault(0, "OSError: AWS Error NETWORK_CONNECTION during PutObject operation", time)

    for second in range(0, 600, 60):
        assert told(health, STARTED, away(second)) == [None, None]
    assert told(health, STEP, away(601), STARTED, away(1200)) == [None] * 4, "a step begins a new count"
    assert "NETWORK_CONNECTION" in (health.update(away(1201)) or "")


@given(st.lists(st.sampled_from([STARTED, fault(0, "a"), fault(1, "a"), fault(0, "b")]), max_size=30))
def test_a_run_that_trains_a_step_after_every_event_is_never_stopped(events: list[Event]) -> None:
    health = GroupHealth()
    assert all(
        health.update(happened) is None for n, event in enumerate(events) for happened in (event, StepDone(step=n))
    )
