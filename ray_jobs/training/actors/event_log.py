"""Which events has the driver not read yet?"""

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from ray_jobs.training.events import Event


class Reading(NamedTuple):
    """The events behind a cursor, and the cursor behind them."""

    events: list[Event]
    life: str
    next: int


class EventLog:
    """Events in the order in which they came, until they are read. `life` tells a log that was lost from the next."""

    def __init__(self) -> None:
        self.life = uuid.uuid4().hex
        self.events: list[Event] = []
        self.first = 0  # number of events[0]

    def post(self, events: Iterable[Event]) -> None:
        """Add events."""
        self.events += events

    def read(self, life: str, since: int) -> Reading:
        """Return the events numbered `since` and later of that life, else all; earlier ones are freed."""
        if life == self.life:
            self.events = self.events[since - self.first :]
            self.first = since
        return Reading(self.events, self.life, self.first + len(self.events))
