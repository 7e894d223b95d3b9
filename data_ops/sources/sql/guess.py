"""Which tables of a database hold documents, and how would they be configured?

A table is proposed where it has a column that is called as texts are and can be read exactly as it is; of the others it
is said what they lack. Nothing but names, types and some keys is looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

from data_ops.sources.sql.config import SqlConfig, split_table
from data_ops.sources.sql.connections import database_of
from data_ops.sources.sql.database import COUNTED, KeyStretch
from data_ops.sources.sql.table import ColumnKind, MistakeError, SqlTable, quote, reading_of

LOOKED_AT = 100  # rows, from which the size of the others is told


class TableGuess(NamedTuple):
    """A table that can be read: its configuration, and how much of it there is, counted up to COUNTED rows."""

    config: SqlConfig
    num_rows: int
    num_bytes: int


class Guesses(NamedTuple):
    """What is proposed, and a sentence for each table that has texts and cannot be read exactly."""

    tables: list[TableGuess]
    refused: list[str]


def guess_tables(url: str, texts: Sequence[str], times: Sequence[str]) -> Guesses:
    """Look at the tables of a database; texts, times: what columns of either are called, likely names first.

    OSError, in a sentence, where it does not answer.
    """
    database = database_of(SqlConfig(url=url, table="any"))
    found = Guesses([], [])
    for name in database.tables():
        parts = split_table(name) if "." in name else (name,)
        table = database.table(parts) if parts else None
        text = None if table is None else _first(table, texts, is_text=not url.startswith("sqlite"))
        if table is None or text is None:
            continue
        spelled = ".".join(part if part.isidentifier() else quote(part) for part in table.parts)
        config = SqlConfig(url=url, table=spelled, text=text, time=_first(table, times, is_text=False))
        try:
            reading = reading_of(table, config)
        except MistakeError as error:
            found.refused.append(str(error))
            continue
        pages = database.pages(reading, KeyStretch(None), LOOKED_AT)
        if pages:
            count = database.num_behind(reading, KeyStretch(None))
            seen = sum(page.num_records for page in pages)
            found.tables.append(TableGuess(config, count, sum(page.num_bytes for page in pages) * count // seen))
    return found


def _first(table: SqlTable, names: Sequence[str], *, is_text: bool) -> str | None:
    """The first of these names that a column has."""
    kinds = {name: column.kind for name, column in table.columns.items()}
    return next((name for name in names if name in kinds and (not is_text or kinds[name] is ColumnKind.TEXT)), None)


def told_guess(guess: TableGuess) -> str:
    """Tell how much a table holds."""
    more = " or more" if guess.num_rows >= COUNTED else ""
    return f"{guess.num_rows:,} rows{more}"
