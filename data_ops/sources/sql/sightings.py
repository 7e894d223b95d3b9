"""Up to where may a column that only grows be read, when transactions end in another order than they began?

Up to the highest value that was seen `lag` ago, once every transaction that had written anything then has ended. What
this cannot know is a transaction that took its value before and wrote nothing yet: values taken in advance, times set
when it began. For those there is the lag, and a transaction that takes longer is passed by. Pure: it is told the time.
"""

from typing import NamedTuple

KEPT = 100  # sightings within a lag


class KeySighting(NamedTuple):
    """What a look saw: the highest value, as the database writes it, and the number of the next transaction."""

    at_s: float
    newest: str
    next_transaction: int


class Sightings:
    """The looks of the last `lag_s` seconds, of this process; after a start the first rows wait for one lag."""

    def __init__(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self._seen: list[KeySighting] = []

    def bound(self, sighting: KeySighting | None, horizon: int) -> str | None:
        """Take in a look, None of an empty table; return the highest value that may be read, None where none may.

        horizon: the oldest transaction that is still open at this look, or the next one.
        """
        if sighting is None:
            return None
        last = self._seen[-1] if self._seen else None
        if last is None or (sighting.newest != last.newest and sighting.at_s - last.at_s >= self.lag_s / KEPT):
            self._seen.append(sighting)
        ripe = [
            number
            for number, seen in enumerate(self._seen)
            if sighting.at_s - seen.at_s >= self.lag_s and horizon >= seen.next_transaction
        ]
        if not ripe:
            return None
        del self._seen[: ripe[-1]]
        return self._seen[0].newest
