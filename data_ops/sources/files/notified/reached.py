"""What does the cursor know of a queue and of the sweeps of its bucket?

One entry, under the queue's URL: how many of its messages are in the lake as quarantined, the ids of the last of them,
and how far the bucket was listed. All else of the cursor is by object, as without notifications.
"""

from typing import NamedTuple

import msgspec
import xxhash
from pydantic import JsonValue

from data_ops.sources.protocol import Span

MOST_RECENT = 256  # ids of quarantined messages that are known again when they come again
MOST_A_WINDOW = 200  # messages that one window quarantines, fewer than are known again
BAD = "bad_notification"
SAMPLE_CHARS = 400


class SweepPlace(NamedTuple):
    """How far the patterns were listed: all keys of the patterns before `number`, and of that one's up to `key`.

    patterns: which ones they were; number: as many as there are once a sweep is finished, at `finished_s` by the clock
    of the machine, seconds since 1970.
    """

    patterns: str = ""
    number: int = 0
    key: str = ""
    finished_s: float = 0.0


class QueueReached(NamedTuple):
    """The entry of a queue."""

    num_records: int = 0
    recent: tuple[str, ...] = ()
    sweep: SweepPlace = SweepPlace()

    @classmethod
    def of(cls, state: JsonValue) -> "QueueReached":
        """Read what `state` wrote; None: nothing is known."""
        return cls() if state is None else msgspec.convert(state, cls)

    @property
    def state(self) -> JsonValue:
        """The entry as JSON."""
        return [self.num_records, list(self.recent), list(self.sweep)]

    def behind(self, names: list[str]) -> "QueueReached":
        """Return the entry once messages of these ids are quarantined."""
        recent = (*self.recent, *names)[-MOST_RECENT:]
        return self._replace(num_records=self.num_records + len(names), recent=recent)


def mark_of_patterns(patterns: tuple[str, ...]) -> str:
    """Tell lists of patterns apart."""
    return xxhash.xxh3_64_hexdigest("\n".join(patterns).encode())


def span_of_message(queue: str, number: int, name: str, body: str, sent_s: float) -> Span:
    """A span of one record for a message that names no object, with a sample, because the message is deleted."""
    mark = f"{name} {body[:SAMPLE_CHARS]}"
    return Span(queue, number, 1, 0, len(body.encode()), sent_s, mark, doubt=BAD)


def told_message(span: Span) -> tuple[str, str]:
    """Return id and sample of the message that a span stands for."""
    name, _, sample = span.mark.partition(" ")
    return name, sample
