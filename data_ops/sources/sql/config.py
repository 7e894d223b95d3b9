"""What can be configured of a table in a database, and where may a password stand?

Not here: in the environment (PGPASSWORD), in ~/.pgpass or a file that PGPASSFILE names, or in a service file, all of
which the client reads by itself. A URL with a password in it is refused without being repeated.
"""

import re
from typing import ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from cluster.redaction import SECRET
from cluster.storage.uri import expanded_path
from cluster.units import Duration, Size
from data_ops.sources.protocol import SourceConfig

POSTGRES = ("postgresql", "postgres")
SQLITE = "sqlite:///"
NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


class SqlConfig(SourceConfig):
    """A table of PostgreSQL or SQLite."""

    FINDS: ClassVar[frozenset[str]] = frozenset({"url", "table", "lag", "on_loss", "wait", "weight"})

    kind: Literal["sql"] = Field("sql", description="A table of a database.")
    url: str = Field(
        description="postgresql://USER@HOST/DATABASE without a password, postgresql:///?service=NAME, or "
        "sqlite:///PATH (a path from the root has four slashes)."
    )
    table: str = Field(description="The table, as SCHEMA.TABLE or TABLE, written as the database spells it.")
    cursor: str | None = Field(
        None,
        min_length=1,
        description="The column that tells what is new: of type xid8 (exact), or one that only grows, with lag. None: "
        "PostgreSQL's only column of type xid8, SQLite's AUTOINCREMENT key.",
    )
    lag: Duration | None = Field(
        None, gt=0, le=86_400, description="How long a row waits, where the cursor is not of type xid8; its risk: docs."
    )
    text: str = Field("text", min_length=1, description="The column that holds the text.")
    time: str | None = Field(None, min_length=1, description="The column of the event time; none: when it was found.")
    id: str | None = Field(None, min_length=1, description="The column of the row's own id; none: the primary key.")
    on_loss: Literal["stop", "continue"] = Field(
        "stop",
        description="Where the table was made again, restored or numbered anew before it was read: go on, or stop.",
    )
    wait: bool = Field(False, description="Start even if the table or its first row is not there yet.")
    max_record_bytes: Size = Field(16 << 20, ge=64, le=256 << 20, description="A longer text is quarantined.")

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        if url.startswith(SQLITE) and len(url) > len(SQLITE):
            return url
        try:
            parts = urlsplit(url)
            password, asked = parts.password, parse_qsl(parts.query, keep_blank_values=True)
        except ValueError:
            raise ValueError("it is no URL; write postgresql://USER@HOST/DATABASE or sqlite:///PATH") from None
        if parts.scheme not in POSTGRES or "://" not in url:
            raise ValueError(
                f"{parts.scheme or 'a path'} names no database that is read; write postgresql://USER@HOST/DATABASE or "
                "sqlite:///PATH"
            )
        if password is not None or any(SECRET.search(name) for name, _ in asked):
            raise ValueError(
                "a password has no place in a configuration; put it into the environment as PGPASSWORD, into ~/.pgpass "
                "(PGPASSFILE) or into a service file, on every node"
            )
        return url

    @field_validator("table")
    @classmethod
    def _is_a_name(cls, table: str) -> str:
        parts = split_table(table)
        if not parts or len(parts) > 2 or any("\0" in part for part in parts):
            raise ValueError(f'{table!r} names no table; write TABLE or SCHEMA.TABLE, a part with a dot as "a.b"')
        return table

    @model_validator(mode="after")
    def _belongs_to_the_database(self) -> Self:
        if self.is_sqlite and len(split_table(self.table)) > 1:
            raise ValueError(f"table={self.table} has a schema, and SQLite has none; leave it out")
        if self.is_sqlite and self.lag is not None:
            raise ValueError(f"lag={self.lag:g} is for PostgreSQL; SQLite is read exactly, leave it out")
        return self

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of SQLite."""
        return self.url.startswith(SQLITE)

    @property
    def waits(self) -> bool:
        """Whether a run starts though nothing is there yet."""
        return self.wait

    def describe(self) -> str:
        """Tell which table is read."""
        return f"table={self.table}"

    def absolute(self) -> Self:
        """Return the same with the path of a SQLite file from the root."""
        if not self.is_sqlite:
            return self
        path = expanded_path(self.url.removeprefix(SQLITE)).absolute()
        return self.model_copy(update={"url": f"{SQLITE}{path}"})


def split_table(table: str) -> tuple[str, ...]:
    """Split the name of a table into schema and name; () where it is none.

    >>> split_table("news.docs"), split_table('"odd.name"'), split_table("a..b")
    (('news', 'docs'), ('odd.name',), ())
    """
    parts, position = list[str](), 0
    while (match := NAME_PART.match(table, position)) is not None:
        parts.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        if match.end() == len(table):
            return tuple(parts)
        if table[match.end()] != ".":
            return ()
        position = match.end() + 1
    return ()
