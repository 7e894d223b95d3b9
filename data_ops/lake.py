"""Which tables hold the truth, and how does a row enter them exactly once?

Four append-only Delta tables: `documents` (every record ever read), `windows` (what each pass planned and took in),
`rounds` (every round's manifest, written before its first step) and `ledger` (every committed checkpoint).
Each append carries an application transaction (app, number): a second append with the same number is a no-op,
so a killed writer simply repeats itself. The price is one commit of 15 to 40 ms per append.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cluster.storage import Store
from data_ops.document import DOCUMENT_SCHEMA, TIME
from data_ops.sources.protocol import Span

WINDOW_SCHEMA = pa.schema(
    [
        pa.field("window", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),  # planned | committed
        pa.field("spans", pa.string(), nullable=False),  # JSON {source: [span, ...]}
        pa.field("cursors", pa.string(), nullable=False),  # JSON {source: {partition: state}}, changed ones only
        pa.field("counts", pa.string(), nullable=False),  # JSON {read, kept, held_out, quarantined, dropped}
        pa.field("arrived", TIME, nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
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
SCHEMAS = {"windows": WINDOW_SCHEMA, "rounds": ROUND_SCHEMA, "ledger": LEDGER_SCHEMA}
LOG_CHECKPOINT_EVERY = 50  # commits between Delta log checkpoints, so that opening a table stays fast


@dataclass(frozen=True)
class Window:
    """What one pass of ingest took in, or is about to: one list of spans per source. Immutable once committed."""

    window: int
    spans: dict[str, list[Span]]
    cursors: dict[str, dict[str, Any]]
    arrived: datetime
    counts: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def num_records(self) -> int:
        """How many records its spans promise."""
        return sum(span.num_records for spans in self.spans.values() for span in spans)


@dataclass
class Progress:
    """How far the committed windows reach, kept between windows so that their whole log is read only once."""

    next_window: int = -1  # -1: the lake was not asked yet
    cursors: dict[str, dict[str, Any]] = field(default_factory=dict)

    def catch_up(self, lake: "Lake") -> Window | None:
        """Take in what was committed since; returns the window that is planned but not committed."""
        self.next_window = max(self.next_window, 0)
        committed, planned = lake.windows(self.next_window)
        for window in committed:
            self.take(window)
        return planned

    def take(self, window: Window) -> None:
        """Move behind a window that is committed."""
        self.next_window = window.window + 1
        for label, changed in window.cursors.items():
            self.cursors.setdefault(label, {}).update(changed)


class Lake:
    """The durable tables of one store. Holds no state but where they are; safe to open anywhere, many times."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def create(self) -> None:
        """Create the tables that do not exist yet."""
        for name, schema in {"documents": _delta(DOCUMENT_SCHEMA), **SCHEMAS}.items():
            if self._table(name) is None:
                try:
                    DeltaTable.create(
                        self.store.delta_uri(name), schema, mode="ignore", storage_options=self._options()
                    )
                except (CommitFailedError, DeltaError) as error:
                    if self._table(name) is None:
                        raise OSError(f"{self.store.delta_uri(name)} cannot be created: {error}") from error

    def plan_window(self, window: Window) -> bool:
        """Write a window's spans down before anything of it is read; False if that number was planned before."""
        return self._append("windows", "planned", window.window, _window_row(window, "planned"))

    def commit_window(self, window: Window, documents: pa.Table) -> bool:
        """Store a window's documents and then its counts; False if another process had done so before.

        A crash between the two leaves documents that no committed window names: the next attempt finds them
        stored, skips them and commits the window.
        """
        self._append("documents", "documents", window.window, documents.cast(_delta(DOCUMENT_SCHEMA)))
        return self._append("windows", "committed", window.window, _window_row(window, "committed"))

    def windows(self, first_window: int = 0) -> tuple[list[Window], Window | None]:
        """Read the log from `first_window` on: the committed ones in order, and the one that is only planned."""
        newer = pc.field("window") >= first_window
        table = self._read("windows", None, newer, [("window", ">=", first_window)]).sort_by("window")
        read = {"planned": {}, "committed": {}}  # type: dict[str, dict[int, Window]]
        for row in table.to_pylist():
            read[row["event"]][row["window"]] = _window(row)
        committed = [read["committed"][n] for n in sorted(read["committed"])]
        open_plans = [w for n, w in sorted(read["planned"].items()) if n not in read["committed"]]
        return committed, open_plans[0] if open_plans else None

    def last_window(self) -> int:
        """Number of the last committed window, -1 when there is none: one look at the log, no data read."""
        table = self._table("windows")
        version = table.transaction_version("committed") if table is not None else None
        return -1 if version is None else int(version)

    def documents(
        self,
        first_window: int,
        last_window: int,
        columns: Iterable[str] | None = None,
        fates: Iterable[str] | None = None,
    ) -> pa.Table:
        """Read the documents of windows first..last (inclusive) in (window, position) order.

        Only windows that are committed count: rows a crashed ingest left behind are not shown.
        """
        names = list(columns) if columns is not None else DOCUMENT_SCHEMA.names
        last = min(last_window, self.last_window())
        condition = (pc.field("window") >= first_window) & (pc.field("window") <= last)
        if fates is not None:
            condition = condition & pc.field("fate").isin(list(fates))
        needed = list(dict.fromkeys([*names, "window", "position"]))
        table = self._read("documents", needed, condition, _between(first_window, last))
        order = pc.sort_indices(table, sort_keys=[("window", "ascending"), ("position", "ascending")])
        return table.take(order).select(names)

    def arrivals(self, first_window: int, last_window: int) -> dict[int, float]:
        """When the records of each committed window arrived, in seconds since 1970."""
        window = pc.field("window")
        chosen = (pc.field("event") == "committed") & (window >= first_window) & (window <= last_window)
        table = self._read("windows", ["window", "arrived"], chosen, _between(first_window, last_window))
        return {row["window"]: row["arrived"].timestamp() for row in table.to_pylist()}

    def add_round(self, run: str, number: int, row: dict[str, Any]) -> bool:
        """Write a round's manifest down; False if that round of that run is written already."""
        table = pa.Table.from_pylist([{"run": run, "round": number, **row}], schema=ROUND_SCHEMA)
        return self._append("rounds", f"rounds/{run}", number, table)

    def num_rounds(self, run: str) -> int:
        """How many rounds of this run are written down: one look at the log, no data read."""
        table = self._table("rounds")
        version = table.transaction_version(f"rounds/{run}") if table is not None else None
        return 0 if version is None else int(version) + 1

    def rounds(self, run: str | None = None, number: int | None = None) -> pa.Table:
        """Read manifests in order: of every run or one, all rounds or one."""
        condition = pc.field("run") == run if run is not None else None
        if number is not None:
            same = pc.field("round") == number
            condition = same if condition is None else condition & same
        return self._read("rounds", None, condition).sort_by([("run", "ascending"), ("round", "ascending")])

    def add_ledger(self, run: str, entry: dict[str, Any]) -> bool:
        """Note the checkpoint a run stands at; False if its last note says the same.

        Usually steps grow; after a damaged checkpoint was put aside the next note goes back, and counts.
        """
        while True:  # until the last note says the same or ours is the next: each lost race is another's note
            last = self._last_note(run)
            if last is not None and all(last[key] == value for key, value in entry.items()):
                return False
            sequence = last["sequence"] + 1 if last else 0
            row = {"run": run, "sequence": sequence, "committed": datetime.now(UTC), **entry}
            rows = pa.Table.from_pylist([row], schema=LEDGER_SCHEMA)
            if self._append("ledger", f"ledger/{run}", sequence, rows):
                return True

    def ledger(self, run: str | None = None) -> pa.Table:
        """Read the committed checkpoints of a run (or of all) in the order in which they came to count."""
        condition = pc.field("run") == run if run is not None else None
        return self._read("ledger", None, condition).sort_by([("run", "ascending"), ("sequence", "ascending")])

    def _last_note(self, run: str) -> dict[str, Any] | None:
        table = self._table("ledger")
        last = table.transaction_version(f"ledger/{run}") if table is not None else None
        if last is None:
            return None
        same = (pc.field("run") == run) & (pc.field("sequence") == last)
        return dict(self._read("ledger", None, same, [("sequence", "=", last)]).to_pylist()[0])

    def _table(self, name: str) -> DeltaTable | None:
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
        table = self._table(name)
        if table is None:
            schema = {"documents": _delta(DOCUMENT_SCHEMA), **SCHEMAS}[name]
            return schema.empty_table().select(columns or schema.names)
        return table.to_pyarrow_dataset(file_pruning_predicate=prune).to_table(columns=columns, filter=condition)

    def _append(self, name: str, app: str, number: int, rows: pa.Table) -> bool:
        table = self._table(name)
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


def _between(first: int, last: int) -> list[tuple[str, str, int]]:
    return [("window", ">=", first), ("window", "<=", last)]


def _window_row(window: Window, event: str) -> pa.Table:
    row = {
        "window": window.window,
        "event": event,
        "spans": json.dumps({k: [asdict(s) for s in v] for k, v in window.spans.items()}),
        "cursors": json.dumps(window.cursors),
        "counts": json.dumps(window.counts or {}),
        "arrived": window.arrived,
        "seconds": window.seconds,
    }
    return pa.Table.from_pylist([row], schema=WINDOW_SCHEMA)


def _window(row: dict[str, Any]) -> Window:
    spans = {k: [Span(**s) for s in v] for k, v in json.loads(row["spans"]).items()}
    return Window(
        window=row["window"],
        spans=spans,
        cursors=json.loads(row["cursors"]),
        arrived=row["arrived"],
        counts=json.loads(row["counts"]) or None,
        seconds=row["seconds"],
    )


def _delta(schema: pa.Schema) -> pa.Schema:
    """Delta knows no fixed-size binary: ids are plain binary there."""
    fields = [f.with_type(pa.binary()) if pa.types.is_fixed_size_binary(f.type) else f for f in schema]
    return pa.schema(fields)
