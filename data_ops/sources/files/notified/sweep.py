"""How is a whole bucket listed beside its notifications, without ever listing it at once?

Page by page behind a key (StartAfter), a few pages a look. The place that is written down stands before the first key
whose object is not settled, so whoever goes on from it passes nothing by. A finished sweep begins anew when it is due.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from data_ops.sources.files.listing import BucketPage, pages_behind
from data_ops.sources.files.notified.reached import SweepPlace, mark_of_patterns
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Untaken

IsSettled = Callable[[str], bool]  # whether nothing more is to be had of a partition


@dataclass(frozen=True)
class _Page:
    """A page whose objects are not all settled, and where the sweep stands behind it."""

    partitions: tuple[str, ...]
    number: int
    last_key: str


class Sweep:
    """One sweep after another over the patterns of a source."""

    def __init__(
        self, patterns: tuple[str, ...], every_s: float, place: SweepPlace, clock: Callable[[], float] = time.time
    ) -> None:
        """place: where to go on, anew if it is of other patterns; clock: seconds since 1970."""
        self._patterns = patterns
        self._every_s = every_s
        self._clock = clock
        self.passed: list[Untaken] = []  # what matches and is not read
        mark = mark_of_patterns(patterns)
        self._place = place if place.patterns == mark else SweepPlace(mark)
        self._begin_if_due()

    def _begin_if_due(self) -> None:
        now = self._clock()
        if self._place.number >= len(self._patterns) and not 0 <= now - self._place.finished_s < self._every_s:
            self._place = self._place._replace(number=0, key="")
        self._pages: deque[_Page] = deque()
        self._ahead = self._place.number, self._place.key  # how far was listed
        self._listing: Iterator[BucketPage] | None = None

    @property
    def has_listed(self) -> bool:
        """Whether all keys were listed; their objects may still be open."""
        return self._ahead[0] >= len(self._patterns)

    def turn(self) -> list[FileState]:
        """List one page; what of it matches. OSError where the bucket cannot be listed."""
        if self.has_listed:
            return []
        number, key = self._ahead
        if self._listing is None:
            self._listing = pages_behind(self._patterns[number], key, self.passed)
        try:
            page = next(self._listing, None)
        except OSError:
            self._listing = None  # it is asked for anew, behind the last page
            raise
        if page is None:
            self._listing, self._ahead = None, (number + 1, "")
            self._pages.append(_Page((), number + 1, ""))
            return []
        self._ahead = number, page.last_key
        self._pages.append(_Page(tuple(file.partition for file in page.files), number, page.last_key))
        return page.files

    def settle(self, is_settled: IsSettled) -> None:
        """Move on behind pages whose objects are all settled for good, and begin anew where that is due."""
        while self._pages and all(map(is_settled, self._pages[0].partitions)):
            page = self._pages.popleft()
            is_end = page.number >= len(self._patterns)
            self._place = self._place._replace(number=page.number, key=page.last_key)
            self._place = self._place._replace(finished_s=self._clock()) if is_end else self._place
        if self.has_listed and not self._pages:
            self._begin_if_due()

    def place(self, is_settled: IsSettled) -> SweepPlace:
        """Tell where a sweep may go on once what `is_settled` says is so."""
        place = self._place
        for page in self._pages:
            if not all(map(is_settled, page.partitions)):
                break
            place = place._replace(number=page.number, key=page.last_key)
            place = place._replace(finished_s=self._clock()) if page.number >= len(self._patterns) else place
        return place
