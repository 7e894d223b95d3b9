"""Which rows of a table are new, and what do they say?

A table is one partition. Its cursor is the key of the last row that was planned and lies in the lake's window commits.
A look asks for the keys of rows that are final, never for their texts, and cuts them into pages, which workers read by
their bounds. A row that was deleted or written anew in between leaves a place without a document.
"""

import difflib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pyarrow as pa

from cluster.storage.retry import retry
from data_ops.documents.document import records
from data_ops.sources.protocol import MAX_BATCH_ROWS, Cursor, Discovery, LossError, Source, SourceConfig, Span
from data_ops.sources.sql.config import SqlConfig, split_table
from data_ops.sources.sql.connections import database_of
from data_ops.sources.sql.database import Database, DatabaseStanding, KeyStretch
from data_ops.sources.sql.holding import STALLED_S, Hold, Holding
from data_ops.sources.sql.reached import KeyReached, Mark, Page, TableStart, page_spans, table_start
from data_ops.sources.sql.sightings import KeySighting, Sightings
from data_ops.sources.sql.table import MistakeError, TableView, comma_list, quote, reading_of

logger = logging.getLogger(__name__)
WHY = {
    "restored": "{table} is in another database than it was so far; it was restored, or url leads elsewhere",
    "created_again": "{table} was deleted and made again after {reached}",
    "numbered_anew": "the numbers of {table} began anew after {reached}",
    "promoted": "another server took over {table}, by promotion or by a restore to a point in time, after {reached}",
}


class SqlSource(Source):
    """A table of a database; holds no connection itself, that of a process is in connections.py."""

    CONFIG: ClassVar[type[SourceConfig]] = SqlConfig

    def __init__(self, label: str, config: SqlConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds that only grow, by which rows wait for a lag and long transactions are told."""
        self.label = label
        self.config = config
        self._clock = clock
        self._sightings = Sightings(config.lag or 0.0)
        self._holding = Holding(clock)

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new. LossError where the table is not the one that was read so far, unless that is accepted."""
        return retry(lambda: self._look(cursor, max_records))

    def _look(self, cursor: Cursor, max_records: int) -> Discovery:
        database, name = database_of(self.config), self.config.table
        reading = self._reading(database)
        if reading is None:
            told = f"{self._named}: there is no such table now; it is looked for again"
            return Discovery([], cursor, [told], drained=True)
        standing = database.standing(reading)
        known = KeyReached.of(cursor[name]) if name in cursor else None
        start = table_start(known, standing.origin, standing.last_number)
        loss = self._loss(known, start)
        stretch = KeyStretch(start.entry.key, self._bound(reading, standing))
        pages = database.pages(reading, stretch, max_records)
        spans, entry = page_spans(name, start, pages, time.time())
        behind = self._behind(database, reading, stretch, pages, max_records)
        hold = self._hold(reading, standing, stretch)
        warnings = [*loss, *self._warnings(reading, standing, hold)]
        drained = not behind and not hold.is_waited_for
        return Discovery(spans, {**cursor, name: entry.state}, warnings, drained, num_behind=behind)

    def _hold(self, reading: TableView, standing: DatabaseStanding, stretch: KeyStretch) -> Hold:
        """Tell whether rows are held back that an ingest which ends by itself has to wait for."""
        following = standing.next_transaction
        if reading.order.is_exact:
            return self._holding.take(int(standing.first_undecided or 0), following, holds=standing.holds_back)
        hold = self._holding.take(standing.horizon, following, holds=stretch.bound != standing.newest)
        has_begun = stretch.bound is not None or standing.newest is None
        return hold._replace(is_waited_for=not has_begun and hold.stalled is None)

    def _reading(self, database: Database) -> TableView | None:
        """Look at the table; None where there is none. MistakeError where it cannot be read as configured."""
        table = database.table(split_table(self.config.table))
        try:
            return None if table is None else reading_of(table, self.config)
        except MistakeError as error:
            raise MistakeError(f"sources.{self.label}: {error}") from None

    def _bound(self, reading: TableView, standing: DatabaseStanding) -> str | None:
        """Return the value up to which may be read (KeyStretch)."""
        if reading.order.is_exact or standing.newest is None:
            return standing.first_undecided
        sighting = KeySighting(self._clock(), standing.newest, standing.next_transaction)
        return self._sightings.bound(sighting, standing.horizon)

    def _behind(
        self, database: Database, reading: TableView, stretch: KeyStretch, pages: Sequence[Page], most: int
    ) -> int:
        """Count the rows that may be read behind those of a window."""
        if sum(page.num_records for page in pages) < most:
            return 0
        return database.num_behind(reading, stretch._replace(after=pages[-1].last))

    @property
    def _named(self) -> str:
        return f"sources.{self.label}.{self.config.describe()}"

    def _loss(self, known: KeyReached | None, start: TableStart) -> list[str]:
        """Tell why rows may be lost; LossError unless that is accepted."""
        if known is None or not start.loss:
            return []
        reached = f"{' / '.join(known.key or ('its beginning',))} was reached"
        sentence = f"sources.{self.label}: {WHY[start.loss].format(table=self.config.table, reached=reached)}"
        if self.config.on_loss == "stop":
            raise LossError(
                f"{sentence}; set sources.{self.label}.on_loss=continue to go on with what is there and have the loss "
                "written down"
            )
        return [sentence]

    def _warnings(self, reading: TableView, standing: DatabaseStanding, hold: Hold) -> Iterator[str]:
        """Tell what a person should know, each once a process."""
        (table, order, _), name = reading, self.config.table
        if not order.is_exact:
            yield (
                f"{self._named}: cursor={order.columns[0]} grows in another order than transactions end; a row whose "
                f"transaction takes longer than lag={self.config.lag:g} s may be passed by (docs/sql.md)"
            )
        if reading.lacks_index:
            columns = ", ".join(map(quote, order.columns))
            yield (
                f"{self._named}: no index holds {columns}, so every look reads the whole table; "
                f"CREATE INDEX CONCURRENTLY ON {table.quoted} ({columns})"
            )
        if standing.is_ahead:
            yield (
                f"{self._named}: rows carry numbers of transactions that the database has not begun, as a dump of "
                f"another brings them along; they wait for it; UPDATE {table.quoted} SET {quote(order.columns[0])} = "
                f"DEFAULT WHERE {quote(order.columns[0])} >= '{standing.next_transaction}'"
            )
        if hold.stalled is not None:
            yield (
                f"{self._named}: transaction {hold.stalled} has been open for more than {STALLED_S:g} s and holds "
                f"back rows of {name}, which come once it has ended; end it (pg_stat_activity, pg_prepared_xacts), or "
                "wait"
            )

    def names(self, partition: str) -> bool:
        """Say whether a partition is our table."""
        return partition == self.config.table

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read the rows of a span; a place whose row has gone since it was planned holds no document.

        LossError where there are more rows than were planned, unless a loss is accepted.
        """
        if span.loss:
            return
        mark, database = Mark.of(span), database_of(self.config)
        reading = self._reading(database)
        if reading is None:
            raise OSError(f"{self._named}: there is no such table now; make it again, or restore it, and start again")
        position, end = mark.first_record, mark.first_record + mark.num_records
        for batch in database.records(reading, mark, self.config.max_record_bytes):
            if position + batch.num_rows > end:
                self._refuse_late(span)
            yield from _within(batch, position, span.first_record, min(end, span.first_record + span.num_records))
            position += batch.num_rows
        first, last = max(position, span.first_record), span.first_record + span.num_records
        for begin in range(first, last, MAX_BATCH_ROWS):
            yield _absent(begin, min(last, begin + MAX_BATCH_ROWS))

    def _refuse_late(self, span: Span) -> None:
        """Tell that a row came among rows that were planned already, so that as many cannot be taken."""
        sentence = (
            f"sources.{self.label}: rows of {span.partition} were committed among records {span.first_record} to "
            f"{span.first_record + span.num_records - 1} after these were planned"
        )
        if self.config.on_loss == "stop":
            raise LossError(
                f"{sentence}; raise lag for the time to come and set sources.{self.label}.on_loss=continue to leave "
                "out as many"
            )
        logger.warning("%s; as many are left out", sentence)

    def size_of(self, span: Span) -> int:
        """Tell how many bytes of text a span held when it was planned."""
        return 0 if span.loss else Mark.of(span).num_bytes

    def missing(self) -> str | None:
        """Say that the client is not installed, that nobody answers, or what is wrong with the table."""
        if not self.config.is_sqlite and find_spec("adbc_driver_postgresql") is None:
            return f"{self._named} needs adbc-driver-postgresql, which is not installed; pip install 'headrace[sql]'"
        database = database_of(self.config)
        try:
            if self._reading(database) is not None or self.config.wait:
                return None
            names = database.tables()
        except MistakeError as error:
            return str(error)
        except OSError as error:
            return f"{self._named}: {error}"
        near = difflib.get_close_matches(self.config.table, names, n=1, cutoff=0.5)
        verb = "are" if names else "is"
        hint = f"did you mean {near[0]}?" if near else f"there {verb} {comma_list(names) or 'none'};"
        return (
            f"{self._named}: the database has no such table that we may see; {hint} or set "
            f"sources.{self.label}.wait=true to start before it is there"
        )

    def fields_there(self) -> Sequence[str]:
        """Name the columns of the table."""
        table = database_of(self.config).table(split_table(self.config.table))
        return () if table is None else tuple(table.columns)


def _within(batch: pa.RecordBatch, position: int, first: int, last: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch, which begins at ordinal `position`, that lie in [first, last)."""
    begin, end = max(first - position, 0), min(last - position, batch.num_rows)
    if begin < end:
        offsets = pa.array(np.arange(position + begin, position + end))
        yield batch.slice(begin, end - begin).set_column(0, batch.schema.field(0), offsets)


def _absent(first: int, last: int) -> pa.RecordBatch:
    """Stand in for rows that have gone."""
    count = last - first
    return records(
        {
            "offset": np.arange(first, last),
            "text": [""] * count,
            "num_bytes_read": np.zeros(count, np.int64),
            "error": ["no_record"] * count,
        }
    )
