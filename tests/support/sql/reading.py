"""How a test reads a table as ingest does: looks, pages, and everything in between as JSON and by pickle."""

import json
import pickle
import time
from collections.abc import Iterable
from typing import Any

from data_ops.sources.protocol import Discovery, Span
from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.source import SqlSource
from tests.support.sql.postgres import Postgres

#: A table that is read exactly, and its index.
MADE = """create table docs (id bigint generated always as identity primary key, body text, at timestamptz,
x xid8 not null default pg_current_xact_id())"""
INDEX = "create index on docs (x, id)"
SECONDS = 60.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


def do(server: Postgres, url: str, *statements: str) -> None:
    """Run statements in the database of a URL, each as a transaction."""
    server.execute(*statements, database=url.rpartition("/")[2])


def source_of(url: str, clock: Clock | None = None, **keys: Any) -> SqlSource:
    """A source of the table docs, with more keys."""
    config = SqlConfig(**{"url": url, "table": "docs", "text": "body", **keys})
    return SqlSource("live", config, clock) if clock else SqlSource("live", config)


def rows_of(source: SqlSource, spans: Iterable[Span]) -> list[dict[str, Any]]:
    """The records of spans."""
    return [row for span in spans for batch in source.read(span) for row in batch.to_pylist()]


def look(source: SqlSource, cursor: dict[str, Any] | None = None, most: int = 10**6) -> Discovery:
    """Look until something is there or nothing comes; what was committed just now may not be on the server's disk."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = source.discover(json.loads(json.dumps(cursor or {})), most)
        if found.spans or found.drained:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def all_of(
    source: SqlSource, most: int = 10**6, cursor: dict[str, Any] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All records behind a cursor, in windows of at most so many, and the cursor behind them."""
    cursor, rows = cursor or {}, list[dict[str, Any]]()
    while True:
        found = look(source, cursor, most)
        rows += rows_of(pickle.loads(pickle.dumps(source)), found.spans)  # noqa: S301
        cursor = found.cursor
        if found.drained:
            return rows, cursor
