"""How does a row enter a Delta table exactly once, and how is it found again without opening every file?

Each append carries an application transaction (app, number): a second append with the same number is a no-op, so a
killed writer simply repeats itself. The price is one commit of 15 to 40 ms per append. Reads are pruned by the
smallest and largest value a file holds; texts and external ids are left out of these, as they would stay in the log.
"""

from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cluster.storage import Store
from data_ops.document import DOCUMENT_SCHEMA, TIME
from data_ops.windows import WINDOW_SCHEMA

DOCUMENT_LIST = pa.list_(
    pa.struct([("id", pa.binary()), ("window", pa.int64()), ("position", pa.int64()), ("num_tokens", pa.int64())])
)
ROUND_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("plan", pa.string(), nullable=False),  # JSON: places, sizes, seed, why it closed
        pa.field("fresh", DOCUMENT_LIST),
        pa.field("replay", DOCUMENT_LIST),
        pa.field("shed", DOCUMENT_LIST),
    ]
)
LEDGER_SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),  # 0.. within the run
        pa.field("step", pa.int64(), nullable=False),
        pa.field("round", pa.int64(), nullable=False),
        pa.field("step_in_round", pa.int64(), nullable=False),  # steps of that round that are in the weights
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("committed", TIME, nullable=False),
        pa.field("state", pa.string(), nullable=False),  # JSON: the manifest's state and files
    ]
)
FORGOTTEN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(), nullable=False),
        pa.field("forgotten", TIME, nullable=False),  # when `headrace forget` was told so
    ]
)
#: Delta knows no fixed-size binary: ids are plain binary there.
STORED_DOCUMENT_SCHEMA = pa.schema(
    [f.with_type(pa.binary()) if pa.types.is_fixed_size_binary(f.type) else f for f in DOCUMENT_SCHEMA]
)
SCHEMAS = {
    "documents": STORED_DOCUMENT_SCHEMA,
    "windows": WINDOW_SCHEMA,
    "rounds": ROUND_SCHEMA,
    "ledger": LEDGER_SCHEMA,
    "forgotten": FORGOTTEN_SCHEMA,
}
#: Whose smallest and largest value a file's entry in the log tells; never a text, which would outlive its document.
PRUNED_BY = {"documents": {"delta.dataSkippingStatsColumns": "window,position,offset"}}
LOG_CHECKPOINT_EVERY = 50  # commits between Delta log checkpoints, so that opening a table stays fast


class Tables:
    """The Delta tables of one store. Holds no state but where they are; safe to open anywhere, many times."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self) -> None:
        """Create the tables that do not exist yet."""
        for name, schema in SCHEMAS.items():
            if self.table(name) is None:
                try:
                    DeltaTable.create(
                        self.store.delta_uri(name),
                        schema,
                        mode="ignore",
                        configuration=dict(PRUNED_BY.get(name, {})),
                        storage_options=self._options(),
                    )
                except (CommitFailedError, DeltaError) as error:
                    if self.table(name) is None:
                        raise OSError(f"{self.store.delta_uri(name)} cannot be created: {error}") from error

    def table(self, name: str) -> DeltaTable | None:
        """Open a table as it is now; None if it is not there."""
        try:
            return DeltaTable(self.store.delta_uri(name), storage_options=self._options())
        except TableNotFoundError:
            return None

    def _read(
        self,
        name: str,
        columns: list[str] | None = None,
        condition: Any = None,
        prune: list[tuple[str, str, int]] | None = None,
    ) -> pa.Table:
        """Read the rows that meet the condition; files whose range of values contradicts `prune` are not opened."""
        table = self.table(name)
        if table is None:
            return SCHEMAS[name].empty_table().select(columns or SCHEMAS[name].names)
        return table.to_pyarrow_dataset(file_pruning_predicate=prune).to_table(columns=columns, filter=condition)

    def _append(self, name: str, app: str, number: int, rows: pa.Table) -> bool:
        table = self.table(name)
        if table is None:
            raise FileNotFoundError(f"{self.store.delta_uri(name)} is no Delta table; create the lake first")
        done = table.transaction_version(app)
        if done is not None and done >= number:
            return False
        commit = CommitProperties(app_transactions=[Transaction(app, number)], max_commit_retries=20)
        try:
            write_deltalake(table, rows, mode="append", commit_properties=commit)
        except CommitFailedError as error:
            if "Concurrent transaction" not in str(error):
                raise OSError(f"{self.store.delta_uri(name)} could not be appended to: {error}") from error
            return False  # another process appended the same number in this moment
        if table.version() % LOG_CHECKPOINT_EVERY == LOG_CHECKPOINT_EVERY - 1:
            table.create_checkpoint()
        return True

    def _options(self) -> dict[str, str] | None:
        return self.store.delta_options() or None
