"""How does a rank come by its rows without waiting for them?"""

from collections import deque
from collections.abc import Iterator

from cluster.runtime.actors import Answer, Handle
from ray_jobs.training.actors.feed import Batch, Feed

PREFETCH = 3  # batches that are asked for ahead


class Batches:
    """The rows of one rank, from the feed."""

    def __init__(self, feed: Handle[Feed], rank: int, world: int) -> None:
        self.feed, self.rank, self.world = feed, rank, world

    def of_round(self, number: int, first: int, steps: int) -> Iterator[Batch]:
        """Yield the batches of steps first .. steps of a round in order, a few requests ahead."""
        waiting: deque[Answer[Batch]] = deque()
        for step in range(first, steps):
            waiting.append(self.feed.call(Feed.batch, number, step, self.rank, self.world))
            if len(waiting) > PREFETCH:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()
