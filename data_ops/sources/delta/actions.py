"""Which files does a version of a Delta table bring, and does it take rows away?

A commit is a file of JSON lines, an action each (the protocol of Delta, "Actions"). New rows are in the files that it
adds with `dataChange`; what only moves rows, as OPTIMIZE does, brings none. Where it has a change data feed, the rows
that it changed are there, and the files that it adds hold copies of the others too. Pure: it is told the bytes.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from cluster.storage.uri import checked


class DataFile(msgspec.Struct, frozen=True, array_like=True):
    """A Parquet file of a table, as the log tells it."""

    path: str  # within the folder of the table
    num_bytes: int
    num_records: int | None  # as its writer says, who may say nothing
    modified_ms: int
    partition: dict[str, str | None]  # columns that have one value in all of its rows, and are not in the file
    is_change: bool = False  # of the change data feed: it also holds rows as they were before
    masked: int | None = None  # the version that says which of its rows were deleted, where it does so row by row


class DeltaCommit(NamedTuple):
    """What a version brings."""

    files: tuple[DataFile, ...]  # in the order of the commit
    takes_away: str  # what deletes or changes rows in it (DELETE, MERGE, ...); "" where nothing does
    alters: bool  # whether columns, or what a reader has to know, may be others behind it


class BadLogError(ValueError):
    """A log that makes no sense, or asks for what is not read; the sentence says what."""


class _Stats(msgspec.Struct, rename="camel"):
    num_records: int | None = None


class _Vector(msgspec.Struct):
    cardinality: int = 0  # rows that are deleted


class _File(msgspec.Struct, rename="camel"):
    path: str
    size: int = 0
    modification_time: int = 0
    data_change: bool = True
    partition_values: dict[str, str | None] | None = None
    stats: str | None = None
    deletion_vector: _Vector | None = None


class _Info(msgspec.Struct):
    operation: str = "a change"


class _Line(msgspec.Struct, rename="camel"):
    add: _File | None = None
    remove: _File | None = None
    cdc: _File | None = None
    meta_data: dict[str, object] | None = None
    protocol: dict[str, object] | None = None
    commit_info: _Info | None = None


def read_commit(data: bytes, version: int) -> DeltaCommit:
    """Read the commit of a version. BadLogError where it makes no sense."""
    lines = [_line(line) for line in data.splitlines() if line.strip()]
    adds = [line.add for line in lines if line.add is not None and line.add.data_change]
    removed = {line.remove.path: line.remove for line in lines if line.remove is not None and line.remove.data_change}
    changes = [line.cdc for line in lines if line.cdc is not None]
    operation = next((line.commit_info.operation for line in lines if line.commit_info is not None), "a change")
    if operation == "DELETE":
        files = []  # what it adds are copies of the rows that stay
    elif changes:
        files = [_data_file(each, version, is_change=True) for each in changes]
    else:
        files = [_data_file(each, version) for each in adds if _brings_rows(each, removed.get(each.path))]
    alters = any(line.meta_data is not None or line.protocol is not None for line in lines)
    return DeltaCommit(tuple(files), operation if removed or changes else "", alters)


def _brings_rows(added: "_File", removed: "_File | None") -> bool:
    """Say whether rows come with a file; one that is there already may have lost rows, or got deleted ones back."""
    return removed is None or _num_deleted(added) < _num_deleted(removed)


def _num_deleted(file: "_File") -> int:
    return file.deletion_vector.cardinality if file.deletion_vector else 0


def _line(line: bytes) -> _Line:
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadLogError(f"a line of a commit makes no sense ({error})") from error


def _data_file(action: "_File", version: int, *, is_change: bool = False) -> DataFile:
    """Read what the log says of a file."""
    try:
        stats = msgspec.json.decode(action.stats or "{}", type=_Stats)
    except msgspec.MsgspecError:
        stats = _Stats()  # a help, no more
    return DataFile(
        path_within(action.path),
        action.size,
        stats.num_records,
        action.modification_time,
        dict(sorted((action.partition_values or {}).items())),
        is_change,
        version if action.deletion_vector else None,
    )


def path_within(written: str) -> str:
    """Return the path of a file within its table, of one that the log tells as a URI. BadLogError if it leads out.

    >>> path_within("day=2024-01-01/na%20me.parquet")
    'day=2024-01-01/na me.parquet'
    """
    path = unquote(written)
    if "://" in path or path.startswith("/"):
        raise BadLogError(f"{path} is a file of another table, as a shallow clone has them; name that table")
    try:
        return checked(path)
    except ValueError as error:
        raise BadLogError(f"{written} leads out of the table") from error


def spelled(partition: Mapping[str, object]) -> dict[str, str | None]:
    """Write values of partition columns as the log does.

    >>> spelled({"b": True, "a": 1})
    {'a': '1', 'b': 'true'}
    """
    return {name: _spelled(value) for name, value in sorted(partition.items())}


def _spelled(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
