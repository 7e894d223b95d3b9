"""Do the batches of a round come once each, in order, and a few are asked for ahead?"""

from typing import Any

import pytest

from cluster.runtime.actors import Local
from ray_jobs.training.actors.batches import PREFETCH, Batches


class Feed:
    """A feed that gives the name of a batch for the batch."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, *which: int) -> Any:
        self.asked.append(which[1])
        return which


@pytest.mark.parametrize(("first", "steps"), [(0, 9), (4, 9), (7, 9), (9, 9), (0, 0), (0, 1)])
def test_every_batch_of_the_rest_of_a_round_comes_once_and_in_order(first: int, steps: int) -> None:
    feed: Any = Local(Feed())
    batches = list(Batches(feed, 1, 2).of_round(6, first, steps))
    assert batches == [(6, step, 1, 2) for step in range(first, steps)]


def test_some_batches_are_asked_for_before_the_first_is_used() -> None:
    feed: Any = Local(Feed())
    next(iter(Batches(feed, 0, 1).of_round(0, 0, 99)))
    assert feed.instance.asked == list(range(PREFETCH + 1))
