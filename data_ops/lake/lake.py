"""Which tables hold the truth, and what can be asked of them?

`documents` (every record ever read), `windows` (what each pass planned and took in), `rounds` (every round's
manifest, written before its first step), `ledger` (every committed checkpoint) and `forgotten` (ids whose text must
go). All are append-only, each row enters once (tables.py); only forgetting rewrites `documents` (erase.py), and from
the moment an id stands in `forgotten` its text is not shown any more, rewritten or not.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.documents.fates import LIVING, hide
from data_ops.kernels.arrays import Ids, array_to_ids, ids_to_array
from data_ops.lake.schemas import FORGOTTEN_SCHEMA, LEDGER_SCHEMA, ROUND_SCHEMA, STORED_DOCUMENT_SCHEMA
from data_ops.lake.tables import Tables
from data_ops.lake.window import Window, read_window, window_row


class Lake(Tables):
    """The durable tables of one store."""

    def plan_window(self, window: Window) -> bool:
        """Write a window's spans down before anything of it is read; False if that number was planned before."""
        return self._append("windows", "planned", window.window, window_row(window, "planned"))

    def commit_window(self, window: Window, documents: pa.Table) -> bool:
        """Store a window's documents and then its counts; False if another process had done so before.

        A crash between the two leaves documents that no committed window names: the next attempt finds them
        stored, skips them and commits the window.
        """
        self._append("documents", "documents", window.window, documents.cast(STORED_DOCUMENT_SCHEMA))
        return self._append("windows", "committed", window.window, window_row(window, "committed"))

    def windows(self, first_window: int = 0) -> tuple[list[Window], Window | None]:
        """Read the log from `first_window` on: the committed ones in order, and the one that is only planned."""
        newer = pc.field("window") >= first_window
        table = self._read("windows", None, newer, [("window", ">=", first_window)]).sort_by("window")
        read = {"planned": {}, "committed": {}}  # type: dict[str, dict[int, Window]]
        for row in table.to_pylist():
            read[row["event"]][row["window"]] = read_window(row)
        committed = [read["committed"][n] for n in sorted(read["committed"])]
        open_plans = [w for n, w in sorted(read["planned"].items()) if n not in read["committed"]]
        return committed, open_plans[0] if open_plans else None

    def cursors(self, first_window: int = 0) -> list[tuple[int, dict[str, dict[str, Any]]]]:
        """The number and the changed cursors of each committed window from `first_window` on, in order.

        What a starting ingest needs of all windows: a third of the time of reading their spans and counts too.
        """
        chosen = (pc.field("event") == "committed") & (pc.field("window") >= first_window)
        table = self._read("windows", ["window", "cursors"], chosen, [("window", ">=", first_window)])
        table = table.sort_by("window")
        return list(zip(table["window"].to_pylist(), map(json.loads, table["cursors"].to_pylist()), strict=True))

    def last_window(self) -> int:
        """Number of the last committed window, -1 when there is none: one look at the log, no data read."""
        last = self._last_number("windows", "committed")
        return -1 if last is None else last

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
        gone = self.forgotten()
        condition = (pc.field("window") >= first_window) & (pc.field("window") <= last)
        wanted = None if fates is None else list(fates)
        if wanted is not None:
            condition = condition & pc.field("fate").isin([*wanted, *LIVING] if "forgotten" in wanted else wanted)
        extra = ["window", "position", *(["id", "fate"] if len(gone) else [])]
        table = self._read("documents", list(dict.fromkeys([*names, *extra])), condition, _between(first_window, last))
        if len(gone):
            table = hide(table, gone)
        if len(gone) and wanted is not None:
            table = table.filter(pc.is_in(table["fate"], pa.array(wanted)))
        order = pc.sort_indices(table, sort_keys=[("window", "ascending"), ("position", "ascending")])
        return table.take(order).select(names)

    def stretches(self, first_window: int, last_window: int, rows: int) -> list[tuple[int, int]]:
        """Cut windows first..last into stretches of about so many rows, in order: who reads all of them opens a file
        that holds many windows a few times, not once a window. Told by the log, where each file's rows are spread
        evenly over its windows.
        """
        if first_window >= last_window:
            return [(first_window, last_window)] if first_window == last_window else []
        held = np.zeros(last_window - first_window + 1)
        for low, high, count in self._look("documents", _held) or ():
            part = slice(max(low - first_window, 0), max(high + 1 - first_window, 0))
            held[part] += count / (high + 1 - low)
        cuts = np.flatnonzero(np.diff(np.cumsum(held) // rows)) + 1
        firsts = [first_window, *(first_window + cuts).tolist()]
        return list(zip(firsts, [*(first - 1 for first in firsts[1:]), last_window], strict=True))

    def forgotten(self) -> Ids:
        """Ids whose text must go, uint64[n, 2]: a look at a small table, a few milliseconds."""
        if self._last_number("forgotten", "forgotten") is None:
            return np.empty((0, 2), np.uint64)
        return ids_to_array(self._read("forgotten", ["id"])["id"])

    def forget(self, ids: Ids) -> int:
        """Write down that these documents must go; returns how many were not written down before.

        From then on their text is not shown any more. Repeating it changes nothing.
        """
        from data_ops.kernels.id_sets import is_member, unique_ids  # numba, 0.5 s: few who read a lake forget

        while True:  # each lost race is another process's note
            done = self._last_number("forgotten", "forgotten")
            new = unique_ids(ids[~is_member(ids, self.forgotten())])
            if not len(new):
                return 0
            times = pa.array([datetime.now(UTC)] * len(new), FORGOTTEN_SCHEMA.field("forgotten").type)
            rows = pa.table([array_to_ids(new).cast(pa.binary()), times], schema=FORGOTTEN_SCHEMA)
            if self._append("forgotten", "forgotten", 0 if done is None else done + 1, rows):
                return len(new)

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
        last = self._last_number("rounds", f"rounds/{run}")
        return 0 if last is None else last + 1

    def rounds(self, run: str | None = None, number: int | None = None) -> pa.Table:
        """Read manifests in order: of every run or one, all rounds or one."""
        wanted: dict[str, Any] = {"run": run, "round": number}
        prune = [(name, "=", value) for name, value in wanted.items() if value is not None]
        condition = None
        for name, _, value in prune:
            same = pc.field(name) == value
            condition = same if condition is None else condition & same
        return self._read("rounds", None, condition, prune).sort_by([("run", "ascending"), ("round", "ascending")])

    def round_batches(self) -> Iterator[pa.RecordBatch]:
        """Read the manifests of every run a few at a time, in no order: for who looks for documents in all of them."""
        table = self.table("rounds")
        if table is not None:
            yield from self.dataset(table).to_batches(batch_size=1, batch_readahead=1, fragment_readahead=1)

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
        last = self._last_number("ledger", f"ledger/{run}")
        if last is None:
            return None
        same = (pc.field("run") == run) & (pc.field("sequence") == last)
        return dict(self._read("ledger", None, same, [("sequence", "=", last)]).to_pylist()[0])


def _held(table: DeltaTable) -> list[tuple[int, int, int]]:
    """First window, last window and number of rows of each file that holds any."""
    files = table.get_add_actions(flatten=True)
    columns = (files.column(name).to_pylist() for name in ("min.window", "max.window", "num_records"))
    return [found for found in zip(*columns, strict=True) if None not in found]


def _between(first: int, last: int) -> list[tuple[str, str, int]]:
    return [("window", ">=", first), ("window", "<=", last)]
