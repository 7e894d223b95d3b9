"""Is a worker group killed when it hangs, and only then?"""

from typing import Any

import pytest
from ray.exceptions import RayError

from ray_jobs.training.actors import liveness
from ray_jobs.training.actors.liveness import LivenessWatch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """An actor that answers, is silent, or has died."""

    def __init__(self, error: type[Exception] | None = None) -> None:
        self.error, self.killed, self.waited = error, 0, -1.0

    def ready(self) -> Any:
        return self

    def get(self, timeout_s: float) -> None:
        self.waited = timeout_s
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        self.killed += 1


def watch_of(*workers: Worker) -> tuple[LivenessWatch, Clock]:
    clock = Clock()
    watch = LivenessWatch(clock)
    for rank, worker in enumerate(workers):
        watch.join("a1", rank, worker, f"node-{rank}")
    return watch, clock


def test_silence_counts_from_the_first_sign_of_life_to_the_last() -> None:
    worker = Worker()
    watch, clock = watch_of(worker)
    clock.now = 99.0
    assert watch.end_hung(5.0) is None, "a start may take its time"
    watch.beat()
    clock.now += 4.0
    assert watch.end_hung(5.0) is None
    watch.leave()
    clock.now += 99.0
    assert watch.end_hung(5.0) is None, "rank 0 is done"
    assert worker.killed == 0


@pytest.mark.parametrize(
    ("silent", "said"), [((), "all answer, but none goes on"), ((1,), "worker 1 does"), ((0, 2), "worker 0, 2 does")]
)
def test_a_group_that_hangs_is_killed_once_and_it_is_said_who_is_silent(silent: tuple[int, ...], said: str) -> None:
    workers = [Worker(TimeoutError if rank in silent else None) for rank in range(3)]
    watch, clock = watch_of(*workers)
    watch.beat()
    clock.now = 6.0
    assert said in (watch.end_hung(5.0) or "")
    assert watch.end_hung(5.0) is None
    assert [worker.killed for worker in workers] == [1, 1, 1]
    assert all(0 <= worker.waited <= liveness.DEAD_SECONDS for worker in workers), "one deadline for all"


def test_a_group_of_which_one_died_is_left_to_ray_train() -> None:
    workers = [Worker(), Worker(RayError)]
    watch, clock = watch_of(*workers)
    watch.beat()
    clock.now = 6.0
    assert watch.end_hung(5.0) is None
    assert [worker.killed for worker in workers] == [0, 0]


def test_a_new_group_takes_the_place_of_the_old_one() -> None:
    watch, _ = watch_of(Worker(), Worker())
    assert watch.nodes == {"node-0", "node-1"}
    watch.join("a2", 0, Worker(), "node-7")
    assert (watch.nodes, set(watch.workers)) == ({"node-7"}, {0})


def test_a_watch_that_was_started_anew_knows_nobody_to_kill() -> None:
    clock = Clock()
    watch = LivenessWatch(clock)
    watch.beat()
    clock.now = 99.0
    assert watch.end_hung(5.0) is None
