"""How is a table of SQLite asked for what is new?

One transaction writes at a time, so rows become final in the order of their numbers, as long as no number is given
twice: AUTOINCREMENT sees to that and remembers the last one, by which a table that was numbered anew is known. The file
is opened for reading, by every worker on its own.
"""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote as escaped

import pyarrow as pa

from cluster.storage.retry import DATABASE_SILENT
from data_ops.sources.fields import RecordRows, name_of
from data_ops.sources.json_records import SURROGATE
from data_ops.sources.sql.config import SQLITE
from data_ops.sources.sql.database import COUNTED, DatabaseStanding, KeyStretch
from data_ops.sources.sql.reached import Mark, Page, TableOrigin
from data_ops.sources.sql.statements import COUNT, behind, between_keys, ordered_by, pages, pages_of
from data_ops.sources.sql.table import ColumnKind, SqlTable, TableColumn, TableView, quote

PATIENCE_S = 30.0  # while a writer holds the file
#: What may stand in the text of a table and is no word of it.
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
AUTOINCREMENT = re.compile(r"\bautoincrement\b", re.IGNORECASE)


class SqliteDatabase:
    """The connection of this process to a file of SQLite."""

    def __init__(self, url: str) -> None:
        self.path = url.removeprefix(SQLITE)
        self._open: sqlite3.Connection | None = None

    def table(self, parts: tuple[str, ...]) -> SqlTable | None:
        """Describe a table; None where there is none."""
        (name,) = parts
        found = self._ask("select sql from sqlite_master where type = 'table' and name = ?", name)
        if not found:
            return None
        info = self._ask("select name, type, pk from pragma_table_info(?) order by cid", name)
        key = tuple(column for column, _, place in sorted(info, key=lambda row: row[2]) if place)
        columns = {column: TableColumn(kind or "", ColumnKind.OTHER, is_nullable=True) for column, kind, _ in info}
        is_counted = AUTOINCREMENT.search(QUOTED.sub(" ", found[0][0])) is not None
        return SqlTable(parts, "", columns, key, (key,), auto_increments=is_counted)

    def tables(self) -> list[str]:
        """Name the tables that there are."""
        names = self._ask("select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by 1")
        return [name for (name,) in names]

    def standing(self, reading: TableView) -> DatabaseStanding:
        """Tell the last number that was given."""
        found = self._ask("select seq from sqlite_sequence where name = ?", reading.table.parts[0])
        return DatabaseStanding(TableOrigin("", 0, ""), int(found[0][0]) if found else 0)

    def pages(self, reading: TableView, stretch: KeyStretch, most: int) -> list[Page]:
        """List at most `most` final rows in order, cut into pages."""
        where = behind(reading, stretch.after, [], _parameter)
        size = f"coalesce(length(cast(t.{quote(reading.fields.text)} as blob)), 0)"
        return pages_of(self._ask(pages(reading, size, where, most), *where.values))

    def num_behind(self, reading: TableView, stretch: KeyStretch) -> int:
        """Count the final rows of a stretch, up to COUNTED."""
        where = behind(reading, stretch.after, [], _parameter)
        statement = COUNT.format(table=reading.table.quoted, where=where.condition, most=COUNTED)
        return int(self._ask(statement, *where.values)[0][0])

    def records(self, reading: TableView, mark: Mark, longest: int) -> Iterator[pa.RecordBatch]:
        """Read the rows of a page that are still there, in order, and one more than was planned if there is one."""
        table, order, fields = reading
        where = between_keys(reading, mark.after, mark.last, _parameter)
        text, name = f"t.{quote(fields.text)}", f"t.{quote(fields.id[0])}"
        size = f"length(cast({text} as blob))"
        time = f"t.{quote(fields.time)}" if fields.time else "null"
        statement = (
            f"select case when {size} <= {longest} or {size} is null then {text} else substr({text}, 1, 200) end, "
            f"{size}, {time}, {name} "
            f"from {table.quoted} t where {where.condition} order by {ordered_by(order)} limit {mark.num_records + 1}"
        )
        rows = RecordRows(0)
        for value, num_bytes, moment, own in self._each(statement, where.values):
            _add(rows, value, num_bytes or 0, moment, longest)
            if (named := name_of(own)) is not None:
                rows.name_last(named)
            if rows.full:
                yield rows.take()
        if rows.texts:
            yield rows.take()

    def _ask(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        return list(self._each(statement, values))

    def _each(self, statement: str, values: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Run a statement. OSError, in a sentence, where the file cannot be read."""
        try:
            yield from self._connection().execute(statement, values)
        except sqlite3.Error as error:
            if self._open is not None:
                self._open.close()
                self._open = None
            if "locked" in str(error) or "busy" in str(error):
                raise OSError(f"{DATABASE_SILENT} at {self.path} ({error}); a writer holds the file") from error
            raise OSError(f"{self.path}: {error}; correct url, table and columns, or the rights on the file") from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = sqlite3.connect(
                f"file:{escaped(self.path)}?mode=ro", uri=True, timeout=PATIENCE_S, check_same_thread=False
            )
            self._open.text_factory = _decoded
        return self._open


def _add(rows: RecordRows, value: object, num_bytes: int, moment: object, longest: int) -> None:
    if value is None:
        rows.quarantine("missing_text", "", num_bytes)
    elif not isinstance(value, str):
        rows.quarantine("wrong_type", value if isinstance(value, bytes) else str(value), num_bytes)
    elif num_bytes > longest:
        rows.quarantine("oversized", value, num_bytes)
    elif SURROGATE.search(value):
        rows.quarantine("bad_utf8", value.encode("utf-8", "surrogateescape"), num_bytes)
    else:
        rows.add_untyped(value, moment, None, num_bytes)


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _parameter(number: int, _column_type: str) -> str:
    return f"cast(?{number} as integer)"
