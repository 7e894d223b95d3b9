"""Does a driver start a coordinator again that does not answer, and then hear it?"""

from types import SimpleNamespace
from typing import Any

from ray_jobs.training.group.training import Training


def test_a_coordinator_that_hangs_is_started_again_and_asked_on() -> None:
    asked: list[float | None] = []
    restarted: list[bool] = []

    class Slow:
        def get(self, timeout_s: float | None = None) -> str:
            asked.append(timeout_s)
            if len(asked) == 1:
                raise TimeoutError
            return "events"

        def is_there(self) -> bool:
            return False

    training: Any = Training.__new__(Training)
    training.coordinator = SimpleNamespace(kill=lambda *, restart: restarted.append(restart))
    training.config = SimpleNamespace(name="news", engine=SimpleNamespace(hang_seconds=3.0))
    assert training._answer(Slow()) == "events"
    assert (asked, restarted) == ([3.0, 3.0], [True])
