"""How does rank 0 tell what it did and hear what it should do, without ever waiting for either?"""

import time
from typing import Any

import ray

from ray_jobs.board import GO

POST_SECONDS = 0.5  # between two posts to the board


class Reporter:
    """Posts events to the board now and then, and hears the driver's wish in the answers; never waits for either."""

    def __init__(self, board: Any) -> None:
        self.board, self.events, self.answer = board, [], None  # type: Any, list[dict[str, Any]], Any
        self.last_post, self.last_wish = 0.0, GO

    def post(self, event: dict[str, Any]) -> None:
        """Add an event; it travels with the next post."""
        self.events.append({"time": time.time(), **event})
        if time.monotonic() - self.last_post >= POST_SECONDS:
            self.flush(wait=False)

    def wish(self) -> int:
        """The driver's wish as last heard."""
        if self.answer is None and time.monotonic() - self.last_post >= POST_SECONDS:
            self.flush(wait=False)
        if self.answer is not None and ray.wait([self.answer], timeout=0)[0]:
            self.last_wish, self.answer = ray.get(self.answer), None
        return self.last_wish

    def flush(self, wait: bool = True) -> None:
        """Send what has gathered."""
        self.answer = self.board.post.remote(self.events)
        self.events, self.last_post = [], time.monotonic()
        if wait:
            ray.get(self.answer)
