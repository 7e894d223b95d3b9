"""How often was a document replayed, and which ones are next, without a count for every document?

Every document has a place on a circle, a hash of its id, and a hand goes round it. A round replays the documents from
the hand on until its budget is full, and the hand rests behind the last of them: so nobody comes again before everybody
was passed. How often a document was passed follows from where the hand is and from where it was when the document could
be replayed first, which is kept by source and window for as long as it matters: eight places for every repeat that is
allowed, however long the run. Where windows are taken together the count is too high by one at most, never too low.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data_ops.documents.frontier import Frontier
from data_ops.kernels.arrays import Bools, Ints

TURN = 1 << 40  # places on the circle
TOGETHER = TURN // 8  # windows that came to be replayed within this stretch of the hand are kept as one
Labels = npt.NDArray[np.object_]


class Entered(NamedTuple):
    """Where the hand was when windows of a source could be replayed first: those before `window`."""

    hand: int
    window: int


@dataclass(frozen=True)
class Known:
    """What is kept of a source. most: the highest limit that it ever had; entered: by window."""

    most: int
    entered: Sequence[Entered]


@dataclass(frozen=True)
class Repeats:
    """How far replay has come, and what is known of the sources that have a limit.

    left: positions that may still be replayed of the documents in the reservoir; given: positions of this round; both
    by source.
    """

    hand: int = 0
    known: Mapping[str, Known] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)


class Limited(NamedTuple):
    """A round's limits, and the documents that it could replay: n rows.

    limits: by source; sources that are not named have none. places: on the circle, [0, TURN). upto: which windows of
    each source may be replayed now.
    """

    before: Repeats
    limits: Mapping[str, int]
    sources: Labels
    windows: Ints
    places: Ints
    lengths: Ints
    upto: Frontier

    @property
    def next_at(self) -> Ints:
        """Where the hand passes each document next."""
        return self.places - (self.places - self.before.hand) // TURN * TURN

    def known(self) -> dict[str, Known]:
        """What is known of the limited sources, with the windows that can be replayed from now on."""
        return {k: _entered(self.before, k, limit, self.upto.of(k).window) for k, limit in sorted(self.limits.items())}

    def open(self) -> Bools:
        """Which documents may be replayed once more."""
        return self._left(self.before.hand, self.known()) > 0

    def behind(self, hand: int, taken: Ints) -> Repeats:
        """What is left once the hand rests at `hand`; taken: rows that the round replays."""
        known = self.known()
        counts = self._left(hand, known)
        limited = np.isin(self.sources.astype(str), list(self.limits))
        left = _sums(self.sources[limited], np.maximum(counts, 0)[limited] * self.lengths[limited])
        return Repeats(hand, known, left, _sums(self.sources[taken], self.lengths[taken]))

    def _left(self, hand: int, known: Mapping[str, Known]) -> Ints:
        """How often each document may still be replayed when the hand is at `hand`; 1 where there is no limit."""
        left = np.ones(len(self.places), np.int64)
        for label, limit in self.limits.items():
            rows = np.flatnonzero(self.sources == label)
            entered = known[label].entered
            if not len(rows) or not entered:
                continue
            ends = np.array([one.window for one in entered])
            hands = np.array([one.hand for one in entered], np.int64)
            which = np.minimum(np.searchsorted(ends, self.windows[rows], side="right"), len(entered) - 1)
            left[rows] = limit - _passed(hands[which], hand, self.places[rows])
        return left


def limits_of(stated: int | Mapping[str, int] | None, sources: Sequence[str]) -> dict[str, int]:
    """The limit of each source that has one.

    >>> limits_of(4, ["web", "wiki"]), limits_of({"web": 2}, ["web", "wiki"]), limits_of(None, ["web"])
    ({'web': 4, 'wiki': 4}, {'web': 2}, {})
    """
    if stated is None:
        return {}
    return dict(stated) if isinstance(stated, Mapping) else dict.fromkeys(sources, stated)


def _entered(before: Repeats, label: str, limit: int, window: int) -> Known:
    """Take in the windows of a source before `window`, and put together what can be replayed no more."""
    hand = before.hand
    old = before.known.get(label, Known(limit, ()))
    most, entered = max(old.most, limit), list(old.entered)
    if not entered or window > entered[-1].window:
        near = bool(entered) and hand - entered[-1].hand < min(TOGETHER, most * TURN)
        first = entered.pop().hand if near else hand
        entered.append(Entered(first, window))
    done = hand - most * TURN
    ended = [one for one in entered if one.hand <= done]
    return Known(most, [*([Entered(done, ended[-1].window)] if ended else []), *entered[len(ended) :]])


def _passed(since: Ints, hand: int, places: Ints) -> Ints:
    """How often the hand has passed each place on its way from `since` to `hand`, the place where it rests left out.

    >>> _passed(np.array([0, 5]), 2 * TURN + 6, np.array([5, 6])).tolist()
    [3, 2]
    """
    return (places - since) // TURN - (places - hand) // TURN


def _sums(sources: Labels, values: Ints) -> dict[str, int]:
    """Add up by source."""
    labels, numbers = np.unique(sources.astype(str), return_inverse=True)
    return {str(k): int(n) for k, n in zip(labels, np.bincount(numbers, values, len(labels)).tolist(), strict=True)}
