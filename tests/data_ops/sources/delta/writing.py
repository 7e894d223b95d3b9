"""A Delta table that is written by the deltalake package, and a source that is read to its end."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.source import DeltaSource
from data_ops.sources.protocol import Cursor, Discovery, Span

FEED = {"delta.enableChangeDataFeed": "true"}


def rows(first: int, last: int, **columns: object) -> pa.Table:
    """Rows [first, last) with an id and a text of their own."""
    numbers = range(first, last)
    return pa.table({"id": list(numbers), "text": [f"text {n}" for n in numbers], **columns})


def append(path: Path | str, table: pa.Table, **options) -> None:
    """Append rows as one version; the first one makes the table."""
    write_deltalake(str(path), table, mode="append", **options)


def table_at(path: Path | str) -> DeltaTable:
    """The table as it is now."""
    return DeltaTable(str(path))


def vacuum(path: Path | str) -> list[str]:
    """Remove all files that no row is in any more, at once."""
    return table_at(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def source_of(path: Path | str, **keys: object) -> DeltaSource:
    """A source of the table, by `id` and with `keys`."""
    return DeltaSource("live", DeltaConfig(**{"path": str(path), "id": "id", **keys}))


def rows_of(source: DeltaSource, spans: list[Span]) -> list[dict]:
    """The records of some spans, read by another process's source."""
    other = pickle.loads(pickle.dumps(source))  # noqa: S301
    return [row for span in spans for batch in other.read(span) for row in batch.to_pylist()]


class DeltaReader:
    """Goes on reading a table, as ingest does; `rows` has all records so far, `told` all warnings."""

    def __init__(self, path: Path | str, **keys: object) -> None:
        self.source, self.cursor = source_of(path, **keys), Cursor()
        self.rows: list[dict] = []
        self.told: list[str] = []
        self.spans: list[Span] = []

    def look(self, most: int = 10**6) -> Discovery:
        """Look once, and read what was found."""
        found = self.source.discover(json.loads(json.dumps(self.cursor)), most)
        self.spans += found.spans
        self.rows += rows_of(self.source, found.spans)
        self.told += found.warnings
        self.cursor = found.cursor
        return found

    def poll(self, most: int = 10**6) -> list[str]:
        """Look until nothing is left; the texts of the documents that came."""
        before = len(self.rows)
        while not self.look(most).drained:
            pass
        return [row["text"] for row in self.rows[before:] if row["error"] is None]

    def restart(self) -> None:
        """Forget all but the cursor, as another process does."""
        self.source = pickle.loads(pickle.dumps(self.source))  # noqa: S301


def texts(first: int, last: int) -> list[str]:
    """The texts of rows [first, last)."""
    return [f"text {n}" for n in range(first, last)]
