"""How does rank 0 tell what it did and hear what it should do, without ever waiting for either?"""

import time
from typing import Any

import ray

from ray_jobs.training.actors.coordinator import GO, STOP
from ray_jobs.training.events import Event

POST_SECONDS = 0.5  # between two posts to the board


class Reporter:
    """Posts events to the board now and then, and hears the driver's wish in the answers; never waits for either."""

    def __init__(self, board: Any) -> None:
        self.board, self.answer = board, None  # type: Any, Any
        self.events: list[Event] = []
        self.last_post, self.heard = 0.0, GO

    def post(self, event: Event) -> None:
        """Add an event; it travels with the next exchange."""
        self.events.append(event)
        self._exchange()

    def wish(self) -> int:
        """What the driver wishes, and a sign of life; each wish is heard once, STOP from then on."""
        self._exchange()
        wish, self.heard = self.heard, STOP if self.heard == STOP else GO
        return wish

    def live(self) -> None:
        """Give a sign of life; what the driver wishes waits until it is asked for."""
        self._exchange()

    def flush(self) -> None:
        """Send what has gathered, and wait until it has arrived."""
        self._hear()
        self._send()
        self._hear()

    def _exchange(self) -> None:
        """Hear an answer that is there; send what has gathered if the last post is long enough ago."""
        if self.answer is not None and ray.wait([self.answer], timeout=0)[0]:
            self._hear()
        if self.answer is None and time.monotonic() - self.last_post >= POST_SECONDS:
            self._send()

    def _send(self) -> None:
        self.answer = self.board.beat.remote(self.events)
        self.events, self.last_post = [], time.monotonic()

    def _hear(self) -> None:
        if self.answer is not None:
            self.heard, self.answer = max(self.heard, ray.get(self.answer)), None
