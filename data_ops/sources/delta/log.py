"""How is the log of a Delta table asked: which table is there, what is new in it, and what does it hold?

The deltalake library opens a table, which costs as much as the table has files, so it is asked only at the beginning
and where the log is another than before. New versions are single small files, which are read here. What a version
brings never changes and is kept for the next look.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from cluster.storage.panics import panics_told
from cluster.storage.retry import is_transient, one_line, retry
from cluster.storage.store import Store
from data_ops.sources.delta.actions import BadLogError, DataFile, DeltaCommit, path_within, read_commit, spelled
from data_ops.sources.delta.reached import DeltaReached, TableVersion

if TYPE_CHECKING:
    from deltalake import DeltaTable

#: Reader features of a table's protocol that are understood here, or change nothing of what is read.
READ_FEATURES = frozenset(
    {
        "columnMapping",
        "deletionVectors",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "variantType",
        "variantType-preview",
    }
)
MASKS = "deletionVectors"
LISTED = ("path", "size_bytes", "modification_time", "num_records", "partition")  # of a file, not its statistics
KEPT = 256  # versions whose files are kept for the next look


class DeltaColumn(NamedTuple):
    """A column, nested ones by their path."""

    type: str  # as Delta calls it
    stored: str  # its path in the files
    is_of_partition: bool


class OpenedTable(NamedTuple):
    """A table as it was when it was opened."""

    now: TableVersion
    columns: dict[str, DeltaColumn]
    refused: str  # why it cannot be read; "" where it can


class Listing(NamedTuple):
    """The files of a version that are to be read, and the stamp of its commit."""

    commit: DeltaCommit
    stamp: str


class DeltaLog:
    """The log of one table; made anew in each process."""

    def __init__(self, root: str) -> None:
        """root: the folder of the table, an absolute path or a URI."""
        self.store = Store.open(root)
        self._kept: OrderedDict[tuple[str, int, str], Listing] = OrderedDict()

    def open(self) -> OpenedTable | None:
        """Look at a table as it is now; None where there is none. OSError, in a sentence, where it cannot be read."""
        table = open_table(self.store)
        if table is None:
            return None
        metadata = table.metadata()
        unread = sorted(set(table.protocol().reader_features or ()) - READ_FEATURES)
        if metadata.configuration.get("delta.columnMapping.mode") == "id":
            unread.append("columnMapping by id")
        refused = f"it uses {', '.join(unread)}, which is not read" if unread else ""
        return OpenedTable(TableVersion(str(metadata.id), table.version()), columns_of_table(table), refused)

    def stamp(self, version: int) -> str:
        """Tell a commit from another one under its number; "" where there is none."""
        path = f"{self.store.root.rstrip('/')}/{_commit_path(version)}"
        info = retry(lambda: self.store.filesystem.get_file_info(path))
        return f"{info.size} {info.mtime_ns}" if info.type is pafs.FileType.File else ""

    def listing(self, entry: DeltaReached) -> Listing | None:
        """List what is to be read of the version of an entry; None where the log does not hold it any more."""
        key = (entry.table, entry.version, entry.rest)
        if key not in self._kept:
            stamp = self.stamp(entry.version)
            commit = self._snapshot(entry) if entry.rest == "whole" else self._commit(entry.version)
            if commit is None:
                return None
            self._kept[key] = Listing(commit, stamp)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _commit(self, version: int) -> DeltaCommit | None:
        """Read what a version brings."""
        try:
            return read_commit(self.store.read(_commit_path(version)), version)
        except FileNotFoundError:
            return None
        except BadLogError as error:
            raise OSError(f"version {version} of {self.store.uri} cannot be read: {error}") from error

    def _snapshot(self, entry: DeltaReached) -> DeltaCommit | None:
        """List all files of a version, the oldest first."""
        try:
            table = open_table(self.store, entry.version)
        except OSError as error:
            if is_transient(error):
                raise
            return None  # the log does not go back so far any more
        if table is None or str(table.metadata().id) != entry.table:
            return None
        columns = columns_of_table(table)
        masked = kept_rows(self.store.uri, entry.version) if _has_masks(table) else {}
        rows = pa.table(table.get_add_actions(flatten=False))
        rows = rows.select([name for name in LISTED if name in rows.column_names])
        try:
            files = [_live_file(row, columns, entry.version, masked) for row in rows.to_pylist()]
        except BadLogError as error:
            raise OSError(f"version {entry.version} of {self.store.uri} cannot be read: {error}") from error
        files.sort(key=lambda file: (file.modified_ms, file.path))
        return DeltaCommit(tuple(files), takes_away="", alters=False)


def open_table(store: Store, version: int | None = None) -> "DeltaTable | None":
    """Open a table at a version, or the newest; None where there is none. OSError, in a sentence, where that fails."""
    import deltalake  # heavy: only where a table is read

    options = store.delta_options() or None
    try:
        with panics_told(store.uri, "restore its log from a copy"):
            return retry(lambda: deltalake.DeltaTable(store.uri, version=version, storage_options=options))
    except deltalake.exceptions.TableNotFoundError:
        return None
    except (deltalake.exceptions.DeltaError, OSError, ValueError) as error:
        raise OSError(f"the log of {store.uri} cannot be read: {one_line(error)}") from error


@lru_cache(maxsize=4)
def kept_rows(root: str, version: int) -> dict[str, pa.BooleanArray]:
    """Read which rows are still there, of files that had rows deleted one by one up to a version: path -> a bit a row.

    FileNotFoundError where the log does not go back so far.
    """
    store = Store.open(root)
    table = open_table(store, version)
    if table is None:
        raise FileNotFoundError(f"there is no Delta table at {root} any more")
    kept: dict[str, pa.BooleanArray] = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for number, uri in enumerate(batch["filepath"].to_pylist()):
            path = unquote(uri).rpartition(f"{store.root.rstrip('/')}/")[2]
            kept[path] = batch["selection_vector"][number].values.cast(pa.bool_())
    return kept


def columns_of_table(table: "DeltaTable") -> dict[str, DeltaColumn]:
    """Tell the columns of an open table, those of structs by their paths."""
    of_partition = table.metadata().partition_columns
    is_mapped = table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none"
    fields = json.loads(table.schema().to_json())["fields"]
    return {
        path: DeltaColumn(kind, stored if is_mapped else path, path in of_partition)
        for path, stored, kind in _columns(fields)
    }


def _has_masks(table: "DeltaTable") -> bool:
    return MASKS in (table.protocol().reader_features or ())


def _commit_path(version: int) -> str:
    return f"_delta_log/{version:020}.json"


def _live_file(
    row: dict[str, Any], columns: Mapping[str, DeltaColumn], version: int, masked: Mapping[str, object]
) -> DataFile:
    partition = {columns[name].stored: value for name, value in (row.get("partition") or {}).items()}
    path = path_within(row["path"])
    return DataFile(
        path,
        row["size_bytes"],
        row["num_records"],
        row["modification_time"],
        spelled(partition),
        masked=version if path in masked else None,
    )


def _columns(fields: list[dict[str, Any]], above: str = "", stored: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the columns of a schema of Delta: path, path in the files, type; of a struct all below it."""
    for field in fields:
        kind, name = field["type"], field["name"]
        path, place = f"{above}{name}", f"{stored}{field['metadata'].get('delta.columnMapping.physicalName', name)}"
        if isinstance(kind, dict) and kind["type"] == "struct":
            yield from _columns(kind["fields"], f"{path}.", f"{place}.")
        else:
            yield path, place, kind["type"] if isinstance(kind, dict) else str(kind)
