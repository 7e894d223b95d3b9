"""How far was a table read, and is it still the table that was read so far?

The cursor is the key of the last row that was planned. It means something only while the database counts on as it did,
so it goes with where it comes from: which cluster, which timeline of it, which table. Pure: it is told what is there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from pydantic import JsonValue

from data_ops.sources.protocol import Span

Key = tuple[str, ...]  # values of the key's columns, as the database writes them


class TableOrigin(NamedTuple):
    """Which table is read; "" and 0 where the database does not tell."""

    system: str  # of the cluster, made with it
    timeline: int  # another one after a standby took over, and after a restore to a point in time
    table: str  # made with the table


class KeyReached(NamedTuple):
    """What the cursor knows of a table; a JSON list there."""

    system: str
    timeline: int
    table: str
    key: Key | None  # of the last row that was planned
    num_records: int  # places that were given, of all tables that had this name

    @classmethod
    def of(cls, state: JsonValue) -> "KeyReached":
        """Read it from JSON."""
        return msgspec.convert(state, cls)

    @property
    def state(self) -> list[JsonValue]:
        """Write it as JSON."""
        key: list[JsonValue] | None = None if self.key is None else [*self.key]
        return [self.system, self.timeline, self.table, key, self.num_records]


class Page(NamedTuple):
    """Consecutive rows that are final: how many, the key of the last one, the bytes of their texts."""

    num_records: int
    last: Key
    num_bytes: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Where the rows of a page are: behind one key up to another, and which ordinals were given to them."""

    after: Key | None
    last: Key
    first_record: int
    num_records: int
    num_bytes: int  # of their texts, when they were planned

    @property
    def text(self) -> str:
        """Write it down, as it stands in a span."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, span: Span) -> "Mark":
        """Read it from a span."""
        return msgspec.json.decode(span.mark, type=cls)


class TableStart(NamedTuple):
    """Where a table goes on, and why rows of it may be lost; "" where none are."""

    entry: KeyReached
    loss: str


def table_start(known: KeyReached | None, origin: TableOrigin, last_number: int | None) -> TableStart:
    """Tell where to go on in a table.

    last_number: the highest number that the database has given to a transaction or row; None where it does not tell.
    After `created_again`, `restored` and `numbered_anew` the table is read from its beginning: nothing is passed by,
    and what was read before is dropped as repeated. After `promoted` it goes on behind the cursor.
    """
    if known is None:
        return TableStart(KeyReached(*origin, None, 0), "")
    anew = KeyReached(*origin, None, known.num_records)
    if "" not in (known.system, origin.system) and known.system != origin.system:
        return TableStart(anew, "restored")
    if known.table != origin.table:
        return TableStart(anew, "created_again")
    if known.key is not None and last_number is not None and int(known.key[0]) > last_number:
        return TableStart(anew, "numbered_anew")
    entry = KeyReached(*origin, known.key, known.num_records)
    is_promoted = 0 not in (known.timeline, origin.timeline) and known.timeline != origin.timeline
    return TableStart(entry, "promoted" if is_promoted else "")


def page_spans(
    partition: str, start: TableStart, pages: Sequence[Page], modified_s: float
) -> tuple[list[Span], KeyReached]:
    """Make spans of pages, behind a record of what was lost, and the entry of the cursor behind them.

    A span seeks by the ordinals of its records; where its rows are stands in its mark.
    """
    first, key = start.entry.num_records, start.entry.key
    spans = [Span(partition, first, 0, first, first, modified_s, loss=start.loss)] if start.loss else []
    for page in pages:
        mark = Mark(key, page.last, first, page.num_records, page.num_bytes)
        count, key = page.num_records, page.last
        spans.append(Span(partition, first, count, first, first + count, modified_s, mark=mark.text))
        first += count
    return spans, start.entry._replace(key=key, num_records=first)
