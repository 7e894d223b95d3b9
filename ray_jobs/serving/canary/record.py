"""What is written down of a canary, so that servers share it, and a kill forgets nothing?

`registry/canaries/<checkpoint>-<when>/`: thumbs of each server, looks (made once each, so that two servers spend no
level twice), and what came of it. Numbers alone: no text, no user, no id of an answer.
"""

from enum import StrEnum

import msgspec

from cluster.storage.state import publish_json, read_json, write_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService
from ray_jobs.serving.canary.weighing import Shown, Sides
from ray_jobs.store.paths import CANARIES


class Ending(StrEnum):
    """What came of a canary."""

    WHOLE = "whole"  # it took over all requests
    ROLLED_BACK = "rolled back"


class CanaryLook(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the thumbs, and what it has shown."""

    look: int
    level: float
    sides: Sides
    shown: Shown
    reason: str
    time_s: float  # unix


class CanaryOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a canary ended, and why."""

    ending: Ending
    reason: str
    against: str  # the checkpoint beside it
    time_s: float  # unix


class CanaryRecord:
    """The folder of one canary: of a checkpoint that was promoted at a time."""

    def __init__(self, store: Store, entry: InService) -> None:
        self._store = store
        self._folder = f"{CANARIES}/{round(entry.decided * 1e6):016d}-{entry.checkpoint.replace('/', '-')}"

    @property
    def name(self) -> str:
        """Its name, which no other canary has."""
        return self._folder.rpartition("/")[2]

    def sides(self) -> Sides:
        """What all servers were told."""
        total = Sides()
        for path in self._store.list(f"{self._folder}/thumbs"):
            total += read_json(self._store, path, Sides)
        return total

    def write_sides(self, server: str, sides: Sides) -> None:
        """Write down what one server was told so far."""
        write_json(self._store, f"{self._folder}/thumbs/{server}.json", sides)

    def looks(self) -> list[CanaryLook]:
        """All looks, oldest first."""
        paths = sorted(self._store.list(f"{self._folder}/looks"))
        return [read_json(self._store, path, CanaryLook) for path in paths]

    def add_look(self, look: CanaryLook) -> bool:
        """Write a look down; False if another server has taken it."""
        return publish_json(self._store, f"{self._folder}/looks/{look.look:06d}.json", look)

    def outcome(self) -> CanaryOutcome | None:
        """What came of it; None while it goes on."""
        try:
            return read_json(self._store, f"{self._folder}/outcome.json", CanaryOutcome)
        except FileNotFoundError:
            return None

    def end(self, outcome: CanaryOutcome) -> CanaryOutcome:
        """Write down what came of it, and return what counts: the first."""
        publish_json(self._store, f"{self._folder}/outcome.json", outcome)
        return self.outcome() or outcome
