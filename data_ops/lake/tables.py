"""How does a row enter a Delta table exactly once, and how is it found again without opening every file?

Each append carries an application transaction (app, number): a second append with the same number is a no-op, so a
killed writer simply repeats itself. The price is one commit of 15 to 40 ms per append. Reads are pruned by the
smallest and largest value a file holds; texts and external ids are left out of these, as they would stay in the log.
Who appends also compacts, now and then and in a thread (compact.py), so that reads do not grow with the appends.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow.dataset import Dataset
from pyarrow.fs import SubTreeFileSystem

from cluster.storage.panics import panics_told
from cluster.storage.retry import is_transient, one_line, retry
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.lake.compact import LOOK_EVERY, compact
from data_ops.lake.schemas import SCHEMAS, properties

#: How Delta says that, since the table was looked at, a compaction began or the log was cleaned: look again.
OVERTAKEN = ("Metadata changed", "Invalid table version", "not found", "No such file")
MEND = "restore the file from a copy"
LOOKS = 5  # at a table that is overtaken each time; two in a row have not been seen
Answer = TypeVar("Answer")


class Tables:
    """The Delta tables of one store. Holds no state but where they are; safe to open anywhere, many times."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self) -> None:
        """Create the tables that do not exist yet."""
        for name, schema in SCHEMAS.items():
            if self.table(name) is None:
                try:
                    retry(partial(self._create, name, schema))
                except DeltaError as error:
                    if self.table(name) is None:
                        raise OSError(f"{self.store.delta_uri(name)} cannot be created: {one_line(error)}") from error

    def table(self, name: str) -> DeltaTable | None:
        """Open a table as it is now; None if it is not there. DamagedError if its log is not what was written."""
        with panics_told(self.store.delta_uri(name), MEND):
            return retry(lambda: self._open(name))

    def _create(self, name: str, schema: pa.Schema) -> None:
        DeltaTable.create(
            self.store.delta_uri(name),
            schema,
            mode="ignore",
            configuration=dict(properties(name)),
            storage_options=self._options(),
        )

    def _open(self, name: str) -> DeltaTable | None:
        try:
            return DeltaTable(self.store.delta_uri(name), storage_options=self._options())
        except TableNotFoundError:
            return None

    def dataset(self, table: DeltaTable, prune: Sequence[tuple[str, str, int | str]] | None = None) -> Dataset:
        """Return what is to be read of an open table; files whose range of values contradicts `prune` are left out.

        Raises DamagedError where its log does not know a column that every version of it has had.

        Read by pyarrow's own filesystem. deltalake's calls Python from pyarrow's threads, and one that still does when
        the interpreter ends aborts the process (seen: one `headrace status` in five on a busy machine).
        """
        name = table.table_uri.rstrip("/").rpartition("/")[2]
        files = SubTreeFileSystem(f"{self.store.root}/{name}", self.store.filesystem)
        found = table.to_pyarrow_dataset(
            filesystem=files, file_pruning_predicate=None if prune is None else list(prune)
        )
        absent = [column for column in SCHEMAS[name].names if column not in found.schema.names]
        if absent:
            raise DamagedError(f"{self.store.delta_uri(name)} is damaged: its log knows no {', '.join(absent)}; {MEND}")
        return found

    def _read(
        self,
        name: str,
        columns: list[str] | None = None,
        condition: object = None,
        prune: Sequence[tuple[str, str, int | str]] | None = None,
    ) -> pa.Table:
        """Read the rows that meet the condition; see `dataset`."""

        def read(table: DeltaTable) -> pa.Table:
            dataset = self.dataset(table, prune)
            try:
                return dataset.to_table(columns=columns, filter=condition)
            except Exception as error:  # of pyarrow, which fails in many ways and seldom names the file
                if is_transient(error) or isinstance(error, FileNotFoundError):
                    raise
                what = f"{self.store.delta_uri(name)} is damaged ({', '.join(_unreadable(dataset)) or 'its log'})"
                raise DamagedError(f"{what}: {one_line(error)}; {MEND}") from error

        found = self._look(name, read)
        return SCHEMAS[name].empty_table().select(columns or SCHEMAS[name].names) if found is None else found

    def _last_number(self, name: str, app: str) -> int | None:
        """The newest number appended under `app`; None if there is none: a look at the log, no data is read."""
        return self._look(name, lambda table: table.transaction_version(app))

    def _append(self, name: str, app: str, number: int, rows: pa.Table) -> bool:
        """Append rows unless that number, or a later one, was appended under `app` before: then False.

        False also where it was appended here and only the answer was lost: the next look finds the number.
        """
        commit = CommitProperties(app_transactions=[Transaction(app, number)], max_commit_retries=20)

        def append(table: DeltaTable) -> bool:
            done = table.transaction_version(app)
            if done is not None and done >= number:
                return False
            try:
                write_deltalake(table, rows, mode="append", commit_properties=commit)
            except DeltaError as error:
                if "Concurrent transaction" not in str(error):
                    raise
                return False  # another process appended the same number in this moment
            if table.version() % LOOK_EVERY == 0:
                # No daemon: a process that ends waits for it instead of breaking off in the middle of a call.
                given = (table, name, properties(name))
                threading.Thread(target=compact, args=given, name=f"compact-{name}").start()
            return True

        appended = self._look(name, append)
        if appended is None:
            raise FileNotFoundError(f"{self.store.delta_uri(name)} is no Delta table; create the lake first")
        return appended

    def _look(self, name: str, ask: Callable[[DeltaTable], Answer]) -> Answer | None:
        """Ask a table as it is now, and again if it is overtaken or the network fails; None if it is not there.

        Each try looks anew, so `ask` may append under a number that it looks up. What else fails is an OSError.
        """
        try:
            with panics_told(self.store.delta_uri(name), MEND):
                return retry(lambda: self._look_closely(name, ask))
        except (OSError, DeltaError, pa.ArrowException) as error:
            if isinstance(error, OSError) and "\n" not in str(error):
                raise
            raise OSError(f"{self.store.delta_uri(name)} cannot be read or written: {one_line(error)}") from error

    def _look_closely(self, name: str, ask: Callable[[DeltaTable], Answer]) -> Answer | None:
        looks = 0
        while True:
            looks += 1
            table = self._open(name)
            if table is None:
                return None
            try:
                return ask(table)
            except (DeltaError, FileNotFoundError) as error:  # a file that a compaction has replaced, a day ago
                if looks == LOOKS or not any(sign in str(error) for sign in OVERTAKEN):
                    raise

    def _options(self) -> dict[str, str] | None:
        return self.store.delta_options() or None


def _unreadable(dataset: Dataset) -> Iterator[str]:
    """The files that cannot be read at all."""
    for fragment in dataset.get_fragments():
        try:
            fragment.to_table()
        except Exception:  # noqa: BLE001 - damaged bytes make it fail in many ways
            yield fragment.path
