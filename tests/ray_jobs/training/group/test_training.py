"""Does a driver start a board again that does not answer, and then hear it?"""

from types import SimpleNamespace
from typing import Any

import pytest

from ray_jobs.training.group import training as module
from ray_jobs.training.group.training import Training


def test_a_board_that_hangs_is_started_again_and_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    board, killed, asked = object(), [], []

    def get(answer: str, timeout: float) -> str:
        asked.append((answer, timeout))
        if len(asked) == 1:
            raise module.ray.exceptions.GetTimeoutError
        return answer

    def kill(actor: Any, *, no_restart: bool) -> None:
        killed.append((actor, no_restart))

    monkeypatch.setattr(module.ray, "get", get)
    monkeypatch.setattr(module.ray, "kill", kill)
    training: Any = Training.__new__(Training)
    training.board, training.config = board, SimpleNamespace(name="news", engine=SimpleNamespace(hang_seconds=3.0))
    assert training._heard("events") == "events"
    assert (asked, killed) == ([("events", 3.0)] * 2, [(board, False)])
