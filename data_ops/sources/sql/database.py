"""What is asked of a database, of whichever kind, and how does it say that it does not answer?

Everything is read: a database is never written to.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import pyarrow as pa

from data_ops.sources.sql.reached import Key, Mark, Page, TableOrigin
from data_ops.sources.sql.table import SqlTable, TableView

COUNTED = 100_000  # rows that wait are counted up to so many


class DatabaseStanding(NamedTuple):
    """Where a database stands at a look.

    last_number: the highest number given to a transaction or row, by which a cursor is compared; None: not told.
    newest: the highest value of the cursor's column, where its order is not exact; None of an empty table.
    horizon, next_transaction: the oldest open transaction, or the next one, and the next one.
    first_undecided: the first value of an exact cursor whose rows may still change; None: all that is seen is final.
    holds_back: are there rows from first_undecided on that others have finished?
    is_ahead: are there rows of transactions that the database has not begun yet, as a dump brings them along?
    """

    origin: TableOrigin
    last_number: int | None
    newest: str | None = None
    horizon: int = 0
    next_transaction: int = 0
    first_undecided: str | None = None
    holds_back: bool = False
    is_ahead: bool = False


class KeyStretch(NamedTuple):
    """Which rows: behind a key, and up to a value of the cursor's column.

    bound: below it where the cursor is exact, else up to it and with it; None: as far as the database knows by itself.
    """

    after: Key | None
    bound: str | None = None


class Database(Protocol):
    """What a process asks a database for: its tables."""

    def table(self, parts: tuple[str, ...]) -> SqlTable | None:
        """Describe a table; None where there is none."""
        ...

    def tables(self) -> list[str]:
        """Name the tables that there are."""
        ...

    def standing(self, reading: TableView) -> DatabaseStanding:
        """Tell where the database stands."""
        ...

    def pages(self, reading: TableView, stretch: KeyStretch, most: int) -> list[Page]:
        """List at most `most` final rows in order, cut into pages."""
        ...

    def num_behind(self, reading: TableView, stretch: KeyStretch) -> int:
        """Count the final rows of a stretch, up to COUNTED."""
        ...

    def records(self, reading: TableView, mark: Mark, longest: int) -> Iterator[pa.RecordBatch]:
        """Read the rows of a page that are still there, in order, and one more than was planned if there is one.

        RECORD_SCHEMA with offsets from 0 on; a text longer than `longest` bytes is quarantined.
        """
        ...
