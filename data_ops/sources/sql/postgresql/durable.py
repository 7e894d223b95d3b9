"""Below which transaction is everything not only decided, but also on the server's disk?

With `synchronous_commit = off` a row is seen before its commit is on disk. After a crash the row is gone, and its
transaction's number is given again: a cursor that had passed it would pass by the rows that come under it. So a horizon
counts once the server has flushed its log up to where the log ended when the horizon was seen, or after so long that it
must have flushed every commit (three times wal_writer_delay, as its manual says). Pure: it is told the time.
"""

from typing import NamedTuple


class HorizonSighting(NamedTuple):
    """What a look saw: the oldest open transaction, and where the server's log ended after that, in bytes."""

    at_s: float
    horizon: int
    log_end: int


class DurableHorizon:
    """The looks of one connection, which a crash of the server ends."""

    def __init__(self) -> None:
        self._seen: list[HorizonSighting] = []

    def take(self, sighting: HorizonSighting, flushed: int, patience_s: float) -> int:
        """Take in a look; return the highest horizon that is durable, 0 where none is yet.

        flushed: up to where the log is on disk, in bytes. patience_s: after which every commit is.
        """
        if not self._seen or sighting.horizon > self._seen[-1].horizon:
            self._seen.append(sighting)
        ripe = [
            number
            for number, seen in enumerate(self._seen)
            if flushed >= seen.log_end or sighting.at_s - seen.at_s >= patience_s
        ]
        if not ripe:
            return 0
        del self._seen[: ripe[-1]]
        return self._seen[0].horizon
