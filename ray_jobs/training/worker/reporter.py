"""How does rank 0 tell what it did and hear what it should do, without ever waiting for either?"""

import time

from cluster.runtime.actors import Answer, Handle
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Event

POST_SECONDS = 0.5  # between two posts to the coordinator


class Reporter:
    """Posts events to the coordinator now and then, and reads directives in the answers; never waits for either."""

    def __init__(self, coordinator: Handle[Coordinator]) -> None:
        self.coordinator = coordinator
        self.answer: Answer[Directive] | None = None
        self.events: list[Event] = []
        self.last_post, self.directive = 0.0, Directive.GO

    def post(self, event: Event) -> None:
        """Add an event; it travels with the next exchange."""
        self.events.append(event)
        self._exchange()

    def take_directive(self) -> Directive:
        """Return what the driver asks for, once, STOP from then on; this is a sign of life too."""
        self._exchange()
        taken = self.directive
        self.directive = Directive.STOP if taken is Directive.STOP else Directive.GO
        return taken

    def live(self) -> None:
        """Give a sign of life; a directive waits until it is asked for."""
        self._exchange()

    def flush(self) -> None:
        """Send what has gathered, and wait until it has arrived."""
        self._hear()
        self._send()
        self._hear()

    def _exchange(self) -> None:
        """Hear an answer that is there; send what has gathered if the last post is long enough ago."""
        if self.answer is not None and self.answer.is_there():
            self._hear()
        if self.answer is None and time.monotonic() - self.last_post >= POST_SECONDS:
            self._send()

    def _send(self) -> None:
        self.answer = self.coordinator.call(Coordinator.beat, self.events)
        self.events, self.last_post = [], time.monotonic()

    def _hear(self) -> None:
        if self.answer is not None:
            self.directive, self.answer = max(self.directive, self.answer.get()), None
