"""Does an open transaction hold rows back that others have committed, since when, and is it worth waiting for?

A look cannot take a row while a transaction of a smaller number is open. An ingest that ends by itself waits for the
transactions that were open when it began, so that all that was committed then is in; but not for one that nobody ends.
"""

from collections.abc import Callable
from typing import NamedTuple

STALLED_S = 60.0  # of one transaction that holds rows back, until that is told and not waited for any longer


class Hold(NamedTuple):
    """What a look says: is there something to wait for, and which transaction has held rows back for too long."""

    is_waited_for: bool
    stalled: int | None


class Holding:
    """The looks of this process at one table, as far as they are needed to tell that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: gives seconds that only grow."""
        self._clock = clock
        self._first_next: int | None = None  # transaction that was to come at the first look
        self._since: tuple[int, float] | None = None  # the transaction that holds rows back, and since when

    def take(self, horizon: int, next_transaction: int, *, holds: bool) -> Hold:
        """Take in a look.

        horizon: the oldest open transaction, or the next one. holds: are there rows that it holds back?
        """
        if self._first_next is None:
            self._first_next = next_transaction
        if not holds:
            self._since = None
            return Hold(is_waited_for=False, stalled=None)
        if self._since is None or self._since[0] != horizon:
            self._since = horizon, self._clock()
        if horizon < next_transaction and self._clock() - self._since[1] > STALLED_S:
            return Hold(is_waited_for=False, stalled=horizon)
        return Hold(is_waited_for=horizon < self._first_next, stalled=None)
