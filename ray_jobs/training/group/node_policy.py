"""Nodes leave and come: what should the workers do about it?

Pure: the nodes that stay, those with workers that are about to leave, and the time in; a directive and why out. Leaving
a node before it goes, after a checkpoint, loses no step; where there is no other place the workers go on and commit
every few seconds until the end.
"""

import time

from cluster.runtime.topology import Node, choose_workers
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Event, Started

AGAIN_SECONDS = 10.0  # between two checkpoints on a node that is about to leave
SETTLE_SECONDS = 15.0  # how long a larger cluster must stay as it is before the workers move


class NodeWatch:
    """Remembers what was asked for, so that nothing is asked for twice."""

    def __init__(self, requested: int | tuple[int, int], batch_rows: int) -> None:
        """requested: `engine.workers`; batch_rows: of the global batch."""
        self.requested, self.batch_rows = requested, batch_rows
        self.workers = 0  # in the group that trains
        self.asked_at = -AGAIN_SECONDS
        self.left: frozenset[str] = frozenset()  # nodes that the workers were asked to leave
        self.seen: tuple[frozenset[str], float] = frozenset(), 0.0  # the nodes and since when they are these
        self.grown_to: frozenset[str] = frozenset()  # nodes for which the workers were asked to become more
        self.too_few: frozenset[str] = frozenset()  # nodes that were told to be too few

    def update(self, event: Event) -> None:
        """Take in how many workers train."""
        if isinstance(event, Started):
            self.workers = event.workers

    def look(self, staying: dict[str, Node], leaving: set[str], now: float | None = None) -> tuple[Directive, str]:
        """Say what to ask the workers for, and why.

        staying: nodes that live and stay; leaving: nodes with workers that were told to go; now: seconds, monotonic.
        """
        now = time.monotonic() if now is None else now
        names = frozenset(staying)
        if names != self.seen[0]:
            self.seen = names, now
        if self.workers == 0:
            return Directive.GO, ""
        fitting = self._fitting(staying)
        if leaving:
            return self._leave(frozenset(leaving), fitting, now)
        if fitting:
            self.too_few = frozenset()
        elif names != self.too_few:
            self.too_few = names
            left = f"the {len(names)} nodes that are left are too few for engine.workers={self.requested}"
            return Directive.GO, f"{left}; training goes on when there are more"
        settled = now - self.seen[1] >= SETTLE_SECONDS
        if fitting > self.workers and not isinstance(self.requested, int) and settled and names != self.grown_to:
            self.grown_to = names
            return (
                Directive.MOVE,
                f"{fitting} workers fit now; the {self.workers} of now commit and start again as more",
            )
        return Directive.GO, ""

    def _leave(self, leaving: frozenset[str], fitting: int, now: float) -> tuple[Directive, str]:
        if fitting and not leaving <= self.left:
            self.left = leaving
            return (
                Directive.MOVE,
                f"{len(leaving)} nodes are about to leave; the workers commit and start again elsewhere",
            )
        if fitting or now - self.asked_at < AGAIN_SECONDS:
            return Directive.GO, ""
        self.asked_at = now
        return (
            Directive.CHECKPOINT,
            f"{len(leaving)} nodes are about to leave and there is no other place; committing often",
        )

    def _fitting(self, nodes: dict[str, Node]) -> int:
        try:
            return choose_workers(self.requested, list(nodes.values()), self.batch_rows)
        except ValueError:
            return 0
