"""Which connection does a process use for the database of a configuration?

One, kept between looks and reads; a source holds none itself, so that it can be sent to another process.
"""

import os
from importlib import import_module

from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.database import Database
from data_ops.sources.sql.sqlite import SqliteDatabase

_OPEN: dict[tuple[int, str], Database] = {}


def database_of(config: SqlConfig) -> Database:
    """Return this process's connection to the database of a configuration; a forked process makes its own."""
    key = (os.getpid(), config.url)
    if key not in _OPEN:
        _OPEN[key] = SqliteDatabase(config.url) if config.is_sqlite else _postgres(config.url)
    return _OPEN[key]


def _postgres(url: str) -> Database:
    client = import_module("data_ops.sources.sql.postgresql.client")  # an extra, 0.7 s: only where PostgreSQL is read
    opened: Database = client.PostgresDatabase(url)
    return opened
