"""What does compaction save a reader, and what does it cost, as a store grows?

Two stores get the same windows of forty documents, and a round of each: one file and one log entry for each plan, each
window's documents, its counts and each manifest, exactly as appends leave them, but written by hand, as 20,000 real
appends would take half an hour. One store is compacted as it grows, by what a run does itself after every 32 windows.
Both are read side by side, in turns. Processor time, as other work on the machine then counts less; caches are warm.
"""

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rows import Goal, Row, paired
from cluster.storage.store import Store
from data_ops.documents.document import DOCUMENT_SCHEMA, TIME
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import array_to_ids
from data_ops.lake.compact import MANY, compact
from data_ops.lake.lake import Lake
from data_ops.lake.progress import Reach
from data_ops.lake.schemas import ROUND_SCHEMA, STORED_DOCUMENT_SCHEMA, properties
from data_ops.lake.window import Window, window_row
from data_ops.rounds.manifest import Manifest
from data_ops.sources.kinds import Span

RUN, DOCUMENTS = "bench", 40
TABLES = ("documents", "windows", "rounds")
WHOLE = ("all documents", "where ingest goes on")  # what looked into every file
READS: dict[str, Callable[[Lake, int], object]] = {
    "all documents": lambda lake, windows: lake.documents(0, windows, ["id", "num_tokens"], ["kept"]),
    "the documents of one window": lambda lake, windows: lake.documents(windows // 2, windows // 2),
    "the manifest of one round": lambda lake, windows: lake.rounds(RUN, windows // 2),
    "where ingest goes on": lambda lake, _: Reach().catch_up(lake),
    "the number of the last window": lambda lake, _: lake.last_window(),
}


def measure(quick: bool) -> list[Row]:
    """Read times, files and bytes at each number of windows."""
    rows: list[Row] = []
    for windows in (40, 80) if quick else (100, 1_000, 5_000):
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            rows += at_size(Path(folder), windows, 1 if windows > 1_000 else 3)
    return rows


def at_size(folder: Path, windows: int, repeats: int) -> list[Row]:
    """The lines of one size."""
    plain, tidy = Growth(folder / "plain"), Growth(folder / "tidy")
    plain.to(windows)
    plain.sum_up()
    spent_s = sum(tidy.to_and_compact(min(number, windows)) for number in range(MANY, windows + MANY, MANY))
    rows = []
    for what, read in READS.items():
        before, after = [], []
        for _ in range(repeats):
            before.append(1e3 * cpu_s(lambda read=read: read(plain.lake, windows)))
            after.append(1e3 * cpu_s(lambda read=read: read(tidy.lake, windows)))
        goal = Goal(0.1, at_least=False) if windows >= 1_000 and what in WHOLE else None
        name = f"{windows:,} windows: {what}"
        rows.append(Row(name, "ms CPU", after, "never compacted", before, paired(after, before), goal))
    for unit, of in (("files", plain.files), ("MiB", plain.mebibytes)):
        ours, theirs = [float(getattr(tidy, of.__name__)())], [float(of())]
        rows.append(Row(f"· {windows:,} windows: {unit}", unit, ours, "never compacted", theirs, paired(ours, theirs)))
    cost = [1e3 * spent_s / windows]
    rows.append(Row(f"· {windows:,} windows: all compactions, a window", "ms CPU", cost))
    return rows


def cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds, of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


class Growth:
    """A store that is filled with what appends leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake, self.windows = folder, Lake(Store.open(str(folder))), 0
        self.lake.create()
        self.random = np.random.default_rng(0)
        self.versions: dict[str, int] = {}

    def to(self, windows: int) -> None:
        """Add windows, each with its round, until there are so many."""
        self.versions = {name: table.version() for name in TABLES if (table := self.lake.table(name)) is not None}
        for number in range(self.windows, windows):
            now = datetime.now(UTC)
            span = Span("p", number * DOCUMENTS, DOCUMENTS, 0, 1, 0.0)
            counts = {"read": DOCUMENTS, "kept": DOCUMENTS}
            window = Window(number, {"made": [span]}, {"made": {"p": [number]}}, now, counts, 1.0)
            documents = self._documents(number)
            self._append("windows", "planned", number, window_row(window, "planned"))
            self._append("documents", "documents", number, documents.cast(STORED_DOCUMENT_SCHEMA))
            self._append("windows", "committed", number, window_row(window, "committed"))
            row = {"run": RUN, "round": number, **manifest(number, documents).to_row()}
            self._append("rounds", f"rounds/{RUN}", number, pa.Table.from_pylist([row], schema=ROUND_SCHEMA))
        self.windows = windows

    def to_and_compact(self, windows: int) -> float:
        """The same, and what a run then does in its threads; the seconds of that."""
        self.to(windows)
        return cpu_s(self._compact)

    def sum_up(self) -> None:
        """Sum each log up, as a run does every 50 commits."""
        for name in TABLES:
            if (table := self.lake.table(name)) is not None:
                table.create_checkpoint()

    def files(self) -> int:
        """Files that a reader of the newest version meets."""
        return sum(len(table.file_uris()) for name in TABLES if (table := self.lake.table(name)) is not None)

    def mebibytes(self) -> float:
        """Their size."""
        tables = [table for name in TABLES if (table := self.lake.table(name)) is not None]
        sizes = [t.get_add_actions(flatten=True).column("size_bytes").to_pylist() for t in tables]
        return float(sum(map(sum, sizes))) / 2**20

    def _compact(self) -> None:
        for name in TABLES:
            table = self.lake.table(name)
            while table is not None and compact(table, name, properties(name)):
                table = self.lake.table(name)

    def _append(self, name: str, app: str, number: int, rows: pa.Table) -> None:
        """Leave what an append leaves: a file, and an entry of the log with its bounds and the transaction."""
        self.versions[name] += 1
        version = self.versions[name]
        path = self.folder / name / f"part-{version:08d}.snappy.parquet"
        pq.write_table(rows, path)
        bounds = {
            c: rows[c][0].as_py() for c in ("window", "run", "round", "position", "offset") if c in rows.schema.names
        }
        last = {c: rows[c][-1].as_py() for c in bounds}
        stats = {
            "numRecords": rows.num_rows,
            "minValues": bounds,
            "maxValues": last,
            "nullCount": dict.fromkeys(bounds, 0),
        }
        made = {
            "path": path.name,
            "partitionValues": {},
            "size": path.stat().st_size,
            "modificationTime": int(1e3 * time.time()),
            "dataChange": True,
            "stats": json.dumps(stats),
        }
        entry = [{"add": made}, {"txn": {"appId": app, "version": number}}]
        log = self.folder / name / "_delta_log" / f"{version:020d}.json"
        log.write_text("\n".join(map(json.dumps, entry)) + "\n")

    def _documents(self, window: int) -> pa.Table:
        ids = self.random.integers(0, 2**64, (DOCUMENTS, 2), dtype=np.uint64)
        tokens = self.random.integers(0, 256, (DOCUMENTS, 60)).astype(np.int32)
        now = int(1e6 * time.time())
        columns = {
            "window": pa.array(np.full(DOCUMENTS, window)),
            "position": pa.array(np.arange(DOCUMENTS)),
            "id": array_to_ids(ids),
            "source": pa.array(["made"] * DOCUMENTS),
            "partition": pa.array(["p"] * DOCUMENTS),
            "offset": pa.array(window * DOCUMENTS + np.arange(DOCUMENTS)),
            "event_time": pa.array(np.full(DOCUMENTS, now)).cast(TIME),
            "arrived": pa.array(np.full(DOCUMENTS, now)).cast(TIME),
            "weight": pa.array(np.ones(DOCUMENTS)),
            "fate": pa.array(["kept"] * DOCUMENTS),
            "num_bytes": pa.array(np.full(DOCUMENTS, 240)),
            "num_tokens": pa.array(np.full(DOCUMENTS, 60)),
            "text": pa.array([self.random.bytes(120).hex() for _ in range(DOCUMENTS)]),
            "tokens": pa.array(tokens.tolist(), DOCUMENT_SCHEMA.field("tokens").type),
        }
        arrays = [columns.get(f.name, pa.nulls(DOCUMENTS, f.type)) for f in DOCUMENT_SCHEMA]
        return pa.Table.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def manifest(number: int, documents: pa.Table) -> Manifest:
    """A round of the documents of a window, one a row."""
    fresh, none = Documents.from_table(documents), Documents.empty()
    places = Place(number, 0), Place(number + 1, 0)
    return Manifest(number, *places, 0, 1, DOCUMENTS, 64, "tokens", fresh, none, none)
