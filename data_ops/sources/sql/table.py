"""What does a database say of a table, and in which order may its rows be read?

Names of columns come from people and from catalogues, so they are quoted wherever they stand in a statement. What the
configuration asks for and the table cannot give is one sentence here, for both databases alike.
"""

import difflib
import re
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from data_ops.sources.sql.config import SqlConfig

#: What gives the number of the transaction that writes a row.
CURRENT = re.compile(r"\b(pg_current_xact_id|txid_current)\(\)")


class ColumnKind(Enum):
    """What a column can be to us."""

    TEXT = "text"
    MOMENT = "moment"  # of a type that knows which moment it is
    NUMBER = "number"
    TRANSACTION = "transaction"  # the number of the transaction that wrote the row
    OTHER = "other"


class TableColumn(NamedTuple):
    """A column: its type, and what it is where an insert names no value, as the database writes them."""

    type: str
    kind: ColumnKind
    is_nullable: bool
    default: str = ""


class SqlTable(NamedTuple):
    """A table: what is behind its name now."""

    parts: tuple[str, ...]  # its name, with its schema where it has one
    made: str  # another one once the table was made again; "" where that is not told
    columns: dict[str, TableColumn]
    key: tuple[str, ...]  # columns of the primary key
    indexes: tuple[tuple[str, ...], ...]  # columns of each index
    auto_increments: bool = False  # no number of its key is given twice
    has_insert_trigger: bool = False  # which may change a row before it is inserted

    @property
    def quoted(self) -> str:
        """Its name in a statement."""
        return ".".join(map(quote, self.parts))


class Order(NamedTuple):
    """The columns by which rows are read, the cursor first, and whether their order is the one of becoming final."""

    columns: tuple[str, ...]
    kind: ColumnKind  # of the cursor
    is_exact: bool


class TableFields(NamedTuple):
    """The columns of a record; id may be several, of the primary key."""

    text: str
    time: str | None
    id: tuple[str, ...]


class TableView(NamedTuple):
    """How a table is read."""

    table: SqlTable
    order: Order
    fields: TableFields

    @property
    def lacks_index(self) -> bool:
        """Whether every look reads the whole table."""
        columns = self.order.columns
        return not any(index[: len(columns)] == columns for index in self.table.indexes)


class MistakeError(OSError):
    """A table cannot be read as it is configured; the sentence says why and what to do."""


def quote(name: str) -> str:
    """Write a name into a statement.

    >>> print(quote('an odd "name'))
    "an odd ""name"
    """
    return '"' + name.replace('"', '""') + '"'


def reading_of(table: SqlTable, config: SqlConfig) -> TableView:
    """Decide how a table is read. MistakeError where columns are not there, or no order of its rows is safe."""
    fields = _fields(table, config)
    return TableView(table, _sqlite_order(table, config) if config.is_sqlite else _order(table, config), fields)


def _fields(table: SqlTable, config: SqlConfig) -> TableFields:
    """Find the columns of a record."""
    for key in ("text", "time", "id"):
        name = getattr(config, key)
        if name is not None and name not in table.columns:
            raise MistakeError(_absent(table, config, key, name))
    column = table.columns[config.text]
    if column.kind is not ColumnKind.TEXT and not config.is_sqlite:
        raise MistakeError(
            f"text={config.text} is of type {column.type}, which is no text; name a column that holds one"
        )
    return TableFields(config.text, config.time, (config.id,) if config.id else table.key)


def _order(table: SqlTable, config: SqlConfig) -> Order:
    """Find the order in which rows of PostgreSQL are read."""
    name = config.cursor or _only_transaction_column(table, config)
    if name not in table.columns:
        raise MistakeError(_absent(table, config, "cursor", name))
    column = table.columns[name]
    is_exact = column.kind is ColumnKind.TRANSACTION
    if is_exact and config.lag is not None:
        raise MistakeError(f"lag={config.lag:g} is of no use where the cursor {name} is of type xid8; leave it out")
    if not is_exact and config.lag is None:
        raise MistakeError(
            f"cursor={name} is of type {column.type}, whose order is not the one in which transactions end; set lag "
            "to how long the longest one takes, or add a column of type xid8 (docs/sql.md)"
        )
    if is_exact and not (CURRENT.search(column.default) or table.has_insert_trigger):
        raise MistakeError(
            f"cursor={name} is of type xid8, and a new row has {column.default or 'nothing'} in it instead of its "
            f"transaction; ALTER TABLE {table.quoted} ALTER COLUMN {quote(name)} SET DEFAULT pg_current_xact_id()"
        )
    if column.type == "date":
        raise MistakeError(f"cursor={name} is of type date, and rows of a day come all day; name a finer column")
    if column.is_nullable:
        raise MistakeError(
            f"cursor={name} may be null, and such a row would never be read; "
            f"ALTER TABLE {table.quoted} ALTER COLUMN {quote(name)} SET NOT NULL"
        )
    if not table.key:
        raise MistakeError(f"{config.table} has no primary key, by which rows are told apart; give it one")
    return Order((name, *(key for key in table.key if key != name)), column.kind, is_exact)


def _sqlite_order(table: SqlTable, config: SqlConfig) -> Order:
    if not table.auto_increments:
        raise MistakeError(
            f"{config.table} has no INTEGER PRIMARY KEY AUTOINCREMENT, and without it SQLite gives the number of a "
            "deleted row again, whose row would be passed by; make the table anew with it"
        )
    if config.cursor not in (None, *table.key):
        raise MistakeError(f"cursor={config.cursor} is not the AUTOINCREMENT key {table.key[0]}; leave it out")
    return Order(table.key, ColumnKind.NUMBER, is_exact=True)


def _only_transaction_column(table: SqlTable, config: SqlConfig) -> str:
    names = [name for name, column in table.columns.items() if column.kind is ColumnKind.TRANSACTION]
    if len(names) == 1:
        return names[0]
    if names:
        raise MistakeError(f"{config.table} has {len(names)} columns of type xid8; name one by cursor")
    raise MistakeError(
        f"{config.table} has no column of type xid8, by which rows are read exactly once; add one (docs/sql.md), or "
        "name a column that only grows by cursor, with lag"
    )


def _absent(table: SqlTable, config: SqlConfig, key: str, name: str) -> str:
    near = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"set {key} to one of them"
    return f"{config.table} has no column {name!r} for {key}; it has {comma_list(list(table.columns))}; {hint}"


def comma_list(names: Sequence[str], most: int = 12) -> str:
    """Name some of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
