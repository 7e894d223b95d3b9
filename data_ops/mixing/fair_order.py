"""In which order do documents of several sources come, so that each source has its share of the tokens?

A fair queue (Demers, Keshav and Shenker 1989): a document's finishing time is the tokens of its source up to and with
it, less what the source is owed, over its share; the earliest comes first. So after any number of documents no source
is further from its share than a document or two. What it is off by is carried to the next round (`owed`), where a
source that has run dry is owed nothing: the others have taken its part.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_ops.kernels.arrays import Floats, Ints


class Waiting(NamedTuple):
    """Documents that may come next, in the order of the log: n rows of the number of a label, length, event time."""

    labels: Sequence[str]
    sources: Ints
    lengths: Ints  # positions
    event_s: Floats

    def first(self, count: int) -> "Waiting":
        """The first so many of them."""
        return Waiting(self.labels, self.sources[:count], self.lengths[:count], self.event_s[:count])

    def tokens(self, taken: Ints | slice = slice(None)) -> dict[str, int]:
        """Positions of these rows by label, as far as there are any."""
        counts = np.bincount(self.sources[taken], self.lengths[taken], len(self.labels))
        return {label: int(count) for label, count in zip(self.labels, counts.tolist(), strict=True) if count}


def in_shares(waiting: Waiting, shares: Mapping[str, float], credits: Mapping[str, float]) -> Ints:
    """Row numbers in the order in which they come; shares and credits (tokens) by label."""
    times = np.zeros(len(waiting.lengths))
    for number, label in enumerate(waiting.labels):
        rows = np.flatnonzero(waiting.sources == number)
        if len(rows):
            times[rows] = (np.cumsum(waiting.lengths[rows]) - credits.get(label, 0.0)) / shares[label]
    return _by(times, waiting)


def in_time(waiting: Waiting) -> Ints:
    """Row numbers by event time; within a source the order of the log stays, so a document may have to wait."""
    times = np.zeros(len(waiting.lengths))
    for number in range(len(waiting.labels)):
        rows = np.flatnonzero(waiting.sources == number)
        times[rows] = np.maximum.accumulate(waiting.event_s[rows])
    return _by(times, waiting)


def owed(
    shares: Mapping[str, float], credits: Mapping[str, float], taken: Mapping[str, int], dry: Sequence[str]
) -> dict[str, float]:
    """What each source is owed in tokens, and owes where it is negative, behind a round: 0 in sum.

    >>> owed({"a": 0.5, "b": 0.5}, {}, {"a": 90, "b": 110}, ())
    {'a': 10.0, 'b': -10.0}
    """
    going = {label: share for label, share in shares.items() if label not in dry}
    given = sum(taken.get(label, 0) - credits.get(label, 0.0) for label in going)
    total = sum(going.values())
    return {k: credits.get(k, 0.0) - taken.get(k, 0) + given * share / total for k, share in going.items()}


def _by(times: Floats, waiting: Waiting) -> Ints:
    """Rows by time; at equal times by label, and within a label as they stand."""
    order: Ints = np.lexsort((np.arange(len(times)), waiting.sources, times))
    return order
