"""Do the workers go on, or does one of them hang?

A rank that is stopped or stuck holds up every other one in the next collective, so rank 0 speaks for all.
"""

import time
from collections.abc import Callable
from typing import Protocol

from ray.exceptions import RayError

from cluster.runtime.actors import Answer

DEAD_SECONDS = 10.0  # how long a worker may take to say that it is there


class Killable(Protocol):
    """A worker's actor."""

    def ready(self) -> Answer[object]:
        """Ask whether it is there."""

    def kill(self) -> None:
        """End it."""


class LivenessWatch:
    """The workers of the newest group, where they are, and when rank 0 was last heard."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.attempt = ""  # the group
        self.workers: dict[int, Killable] = {}  # by rank
        self.nodes: set[str] = set()  # ids
        self.heard_at: float | None = None  # None: nothing to watch

    def join(self, attempt: str, rank: int, worker: Killable, node: str) -> None:
        """Take note of a worker that starts. Watched from its first beat on."""
        if attempt != self.attempt:
            self.attempt, self.workers, self.nodes = attempt, {}, set()
        self.workers[rank], self.heard_at = worker, None
        self.nodes.add(node)

    def beat(self) -> None:
        """Take note that rank 0 is alive."""
        self.heard_at = self.clock()

    def leave(self) -> None:
        """Take note that rank 0 is done: its silence is no fault any more."""
        self.heard_at = None

    def end_hung(self, seconds: float) -> str | None:
        """Kill the worker group if rank 0 is silent for `seconds` although no worker died; what was done, in words.

        Ray Train starts a group again whose workers were killed, and knows by itself of one that died.
        """
        if self.heard_at is None or self.clock() - self.heard_at < seconds or not self.workers:
            return None  # a watch that was started anew knows no workers until the next group joins
        self.heard_at = None
        deadline = time.monotonic() + DEAD_SECONDS
        answers = {rank: worker.ready() for rank, worker in self.workers.items()}
        silent = []
        for rank, answer in sorted(answers.items()):
            try:
                answer.get(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                silent.append(str(rank))
            except RayError:
                return None  # it died
        for worker in self.workers.values():
            worker.kill()
        who = f"worker {', '.join(silent)} does not answer" if silent else "all answer, but none goes on"
        return f"no sign of life for {seconds:g} s ({who}); the workers are killed and started again"
