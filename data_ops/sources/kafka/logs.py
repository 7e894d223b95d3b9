"""Which offsets of a partition are new, which are lost, and how many does a window take of each partition?

The ordinal of a record is counted by offsets: every offset of a span is one place, also where a marker of a transaction
or compaction left no message. So a span's count is known from where the log ends, without reading, and stays what it
was however often the log is compacted in between; the price is a row of some bytes for each offset without a message.
Pure: it is told where the logs begin and end.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_ops.sources.protocol import Span

PIECE_RECORDS = 5000  # a span holds at most so many, so that several workers can read a partition


class Log(NamedTuple):
    """What a broker says of a partition now: its topic's id ("" if it is not told) and the offsets [begin, end)."""

    topic_id: str
    begin: int
    end: int


class Reached(NamedTuple):
    """What the cursor knows of a partition; a JSON list there."""

    topic_id: str
    next_offset: int
    num_records: int  # places that were given, of all logs that had this name
    end: int  # where the log ended at the last look


class Lost(NamedTuple):
    """Offsets [start, end) were gone before they were read; both the same where nobody can tell which."""

    reason: str
    start: int
    end: int


class Start(NamedTuple):
    """Where a partition goes on, and what was lost before."""

    entry: Reached
    loss: Lost | None


def start_of(known: Reached | None, log: Log) -> Start:
    """Say where to go on in a log, from what was read of it."""
    if known is None:
        return Start(Reached(log.topic_id, log.begin, 0, log.end), None)
    if known.topic_id and log.topic_id:
        is_another = known.topic_id != log.topic_id
    else:
        is_another = log.end < known.next_offset  # all that can be seen of it where ids are not told
    topic_id = log.topic_id or ("" if is_another else known.topic_id)
    entry = known._replace(topic_id=topic_id, end=log.end)
    if is_another:
        loss = Lost("created_again", known.next_offset, max(known.end, known.next_offset))
        return Start(entry._replace(next_offset=log.begin), loss)
    if log.end < known.next_offset:
        return Start(entry._replace(next_offset=log.end), Lost("cut_off", log.end, log.end))
    if log.begin > known.next_offset:
        return Start(entry._replace(next_offset=log.begin), Lost("trimmed", known.next_offset, log.begin))
    return Start(entry, None)


def shares_of(waiting: Sequence[int], most: int) -> list[int]:
    """Share out `most` records evenly; what a short partition leaves goes to the longer ones.

    >>> shares_of([10, 1, 10], 9)
    [4, 1, 4]
    """
    shares, left = [0] * len(waiting), most
    for number, place in enumerate(sorted(range(len(waiting)), key=lambda each: waiting[each])):
        shares[place] = min(waiting[place], left // (len(waiting) - number))
        left -= shares[place]
    return shares


def spans_of(starts: Mapping[str, Start], most: int, modified_s: float) -> tuple[list[Span], dict[str, Reached]]:
    """Plan at most `most` records from these starts on: spans partition by partition, and the entries behind them."""
    shares = shares_of([start.entry.end - start.entry.next_offset for start in starts.values()], most)
    spans: list[Span] = []
    after: dict[str, Reached] = {}
    for (name, (entry, loss)), share in zip(starts.items(), shares, strict=True):
        if loss is not None:
            spans.append(Span(name, entry.num_records, 0, loss.start, loss.end, modified_s, loss=loss.reason))
        for first in range(0, share, PIECE_RECORDS):
            count, start = min(PIECE_RECORDS, share - first), entry.next_offset + first
            number = entry.num_records + first
            spans.append(Span(name, number, count, start, start + count, modified_s, mark=entry.topic_id))
        after[name] = entry._replace(next_offset=entry.next_offset + share, num_records=entry.num_records + share)
    return spans, after
