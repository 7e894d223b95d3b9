"""How far was a Delta table read, and which rows of its files does a window take?

A first look takes the files of the newest version, whoever wrote them when; from there on each version brings what it
adds. The cursor says which version, which file of its list and which row of that come next. A version's list never
changes, so any look finds the same place again. Pure: it is told what is there.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from pydantic import JsonValue

from data_ops.sources.delta.actions import DataFile
from data_ops.sources.protocol import Span


class DeltaReached(NamedTuple):
    """What the cursor knows of a table; a JSON list there."""

    table: str  # its id, which it gets when it is made
    version: int
    rest: Literal["whole", "new", "nothing"]  # to read of it: all that it holds, what it brings, or no more
    file: int  # in the list of that version
    row: int  # of that file
    num_records: int  # places that were given, of all tables that had this name
    stamp: str  # of the commit of that version, by which it is seen that the log is still the same

    @classmethod
    def of(cls, state: JsonValue) -> "DeltaReached":
        """Read it from JSON."""
        return msgspec.convert(state, cls)

    @property
    def state(self) -> list[JsonValue]:
        """Write it as JSON."""
        return [*self]

    def behind_version(self) -> "DeltaReached":
        """Go on with what the next version brings."""
        return self._replace(version=self.version + 1, rest="new", file=0, row=0)

    def behind_file(self) -> "DeltaReached":
        """Go on with the next file."""
        return self._replace(file=self.file + 1, row=0)


class FileMark(msgspec.Struct, frozen=True, array_like=True):
    """Which file a span is a piece of, as it stands in the span."""

    file: DataFile
    stored: dict[str, str]  # columns that have another name in the file

    @property
    def text(self) -> str:
        """Write it down."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def of(cls, span: Span) -> "FileMark":
        """Read it from a span."""
        return msgspec.json.decode(span.mark, type=cls)

    def stored_name(self, column: str | None) -> str | None:
        """Tell what a column is called in the file."""
        return column and self.stored.get(column, column)


class TableVersion(NamedTuple):
    """Which table is there now, and its newest version."""

    table: str
    version: int


class DeltaStart(NamedTuple):
    """Where a table goes on, and why rows may be lost before; "" where none are."""

    entry: DeltaReached
    loss: str


def anew(now: TableVersion, num_records: int) -> DeltaReached:
    """Begin with all that the newest version holds."""
    return DeltaReached(now.table, now.version, "whole", 0, 0, num_records, "")


def delta_start(known: DeltaReached | None, now: TableVersion) -> DeltaStart:
    """Tell where to go on. After a loss the table is read anew: what was read before is dropped as repeated."""
    if known is None:
        return DeltaStart(anew(now, 0), "")
    if known.table != now.table:
        return DeltaStart(anew(now, known.num_records), "created_again")
    if known.version > now.version:
        return DeltaStart(anew(now, known.num_records), "cut_off")
    return DeltaStart(known, "")


def cut_file(
    partition: str, entry: DeltaReached, mark: FileMark, group_rows: Sequence[int], most: int
) -> tuple[list[Span], DeltaReached]:
    """Take at most `most` rows of a file from the cursor on: a span for each row group, and the entry behind them."""
    spans, end, left, text = list[Span](), 0, most, mark.text
    for rows in group_rows:
        begin, end = max(end, entry.row), end + rows
        count = min(end - begin, left)
        if count > 0:
            where = (entry.num_records, count, begin, begin + count)
            spans.append(Span(partition, *where, mark.file.modified_ms / 1000, mark=text))
            entry = entry._replace(row=begin + count, num_records=entry.num_records + count)
            left -= count
    return spans, entry if entry.row < end else entry.behind_file()


def cut_unreadable(partition: str, entry: DeltaReached, mark: FileMark) -> tuple[list[Span], DeltaReached]:
    """Take a file that is no Parquet as one place, which is quarantined."""
    span = Span(partition, entry.num_records, 1, 0, 0, mark.file.modified_ms / 1000, mark=mark.text)
    return [span], entry._replace(num_records=entry.num_records + 1).behind_file()
