"""Was a request with this idempotency key taken already, wholly or in part?

The spool itself is the memory: each line of such a request names its key and its part. The newest keys are held, and
read back when a listener starts. Of a request that a crash has cut, only the parts that are missing are written again.
"""

from collections.abc import Iterable

from data_ops.sources.push.documents import SpoolLine, part_of

MOST_KEYS = 100_000


class Keys:
    """The parts that are durable of each of the newest requests, by key."""

    def __init__(self, lines_back: Iterable[bytes] = (), most: int = MOST_KEYS) -> None:
        """lines_back: of the spool, newest segments first; read until `most` keys are known."""
        self._most = most
        self._parts: dict[str, dict[int, str]] = {}
        for line in lines_back:
            if (part := part_of(line)) is not None:
                self._parts.setdefault(part[0], {})[part[1]] = part[3]
            if len(self._parts) > most:
                break
        self._parts = dict(reversed(self._parts.items()))  # the oldest is forgotten first

    def missing(self, key: str, lines: list[SpoolLine]) -> list[tuple[int, SpoolLine]]:
        """Return which lines of a request are not durable yet, with their numbers."""
        there = self._parts.get(key, {})
        return [(number, line) for number, line in enumerate(lines) if number not in there]

    def ids(self, key: str) -> list[str]:
        """Return the ids under which the parts of a request are durable, in order."""
        return [name for _, name in sorted(self._parts.get(key, {}).items())]

    def add(self, key: str, written: Iterable[tuple[int, SpoolLine]]) -> None:
        """Note that lines of a request are durable."""
        self._parts.setdefault(key, {}).update({number: line.id for number, line in written})
        while len(self._parts) > self._most:
            del self._parts[next(iter(self._parts))]
