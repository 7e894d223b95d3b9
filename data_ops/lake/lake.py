"""Which tables hold the truth, and what can be asked of them?

`documents` (every record ever read), `windows` (what each pass planned and took in), `rounds` (every round's
manifest, written before its first step), `ledger` (every committed checkpoint) and `forgotten` (ids whose text must
go). All are append-only, each row enters once (tables.py); only forgetting rewrites `documents` (erase.py), and from
the moment an id stands in `forgotten` its text is not shown any more, rewritten or not.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from cluster.storage.seal import DamagedError
from data_ops.documents.document import DOCUMENT_SCHEMA, FATES
from data_ops.documents.fates import LIVING, count, hide
from data_ops.kernels.arrays import Ids, array_to_ids, ids_to_array, in_order
from data_ops.lake.digest import differences, digest_of
from data_ops.lake.schemas import FORGOTTEN_SCHEMA, STORED_DOCUMENT_SCHEMA
from data_ops.lake.sealed_rows import (
    MEND,
    LedgerEntry,
    LedgerRow,
    RoundRow,
    sealed_note,
    sealed_round,
    unsealed_notes,
    unsealed_rounds,
)
from data_ops.lake.window import Window, window_row
from data_ops.lake.window_log import WindowLog, between

logger = logging.getLogger(__name__)


class Lake(WindowLog):
    """The durable tables of one store."""

    def commit_window(self, window: Window, documents: pa.Table) -> bool:
        """Store a window's documents and then its counts and digest; False if another process had done so before.

        A crash between the two leaves documents that no committed window names: the next attempt finds them
        stored, skips its own and commits the window with what is stored.
        """
        if not self._append("documents", "documents", window.window, documents.cast(STORED_DOCUMENT_SCHEMA)):
            stored = self._documents(window.window, window.window, STORED_DOCUMENT_SCHEMA.names, None)
            if stored.num_rows:
                documents, window = stored, replace(window, counts=window.counts and count(stored))
        done = replace(window, documents=digest_of(documents))
        return self._append("windows", "committed", window.window, window_row(done, "committed"))

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
        last, gone = min(last_window, self.last_window()), self.forgotten()
        wanted = None if fates is None else list(fates)
        stored = wanted if wanted is None or "forgotten" not in wanted else list({*wanted, *LIVING})
        extra = ["window", "position", "fate", *(["id"] if len(gone) else [])]
        table = self._checked(first_window, last, list(dict.fromkeys([*names, *extra])), stored)
        if len(gone):
            table = hide(table, gone)
        if len(gone) and wanted is not None:
            table = table.filter(pc.is_in(table["fate"], pa.array(wanted)))
        return table.select(names)

    def stored(self, first_window: int, last_window: int) -> pa.Table:
        """All rows of committed windows as they are stored, also what is not shown; DamagedError where they changed."""
        return self._checked(first_window, last_window, STORED_DOCUMENT_SCHEMA.names, None)

    def _checked(self, first: int, last: int, columns: list[str], fates: list[str] | None) -> pa.Table:
        """Rows of committed windows as they are stored, compared with the digests that the windows carry.

        A difference is looked at twice, for documents may be forgotten in this moment. Raises DamagedError.
        """
        for look in range(2):
            rows = self._documents(first, last, columns, fates)
            wrong = differences(rows, fates or FATES, self.digests(first, last))
            if not wrong:
                return rows
            logger.debug("look %d: %s", look, wrong)
        number, problems = min(wrong.items())
        more = f" (and {len(wrong) - 1} more windows)" if len(wrong) > 1 else ""
        files = ", ".join(self.files_of(number)) or "its file is not in the log"
        where = f"{number}{more} of {self.store.delta_uri('documents')}"
        raise DamagedError(
            f"window {where} is damaged: {'; '.join(problems)} ({files}); "
            "restore that from a copy; `headrace verify --deep` names all that is damaged"
        )

    def _documents(self, first: int, last: int, columns: list[str], fates: list[str] | None) -> pa.Table:
        """Rows as they are stored, in (window, position) order."""
        window = pc.field("window")
        condition = (window >= first) & (window <= last)
        if fates is not None:
            condition = condition & pc.field("fate").isin(fates)
        table = self._read("documents", columns, condition, between(first, last))
        return in_order(table, "window", "position")

    def files_of(self, window: int) -> list[str]:
        """The files of `documents` that hold a window, as the log tells."""

        def held(table: DeltaTable) -> list[str]:
            files = table.get_add_actions(flatten=True)
            columns = (files.column(name).to_pylist() for name in ("min.window", "max.window", "path"))
            return [p for low, high, p in zip(*columns, strict=True) if low is None or low <= window <= (high or low)]

        return self._look("documents", held) or []

    def stretches(self, first_window: int, last_window: int, rows: int) -> list[tuple[int, int]]:
        """Cut windows first..last into stretches of about so many rows, in order: a reader of all opens a file
        that holds many windows a few times, not once a window. Told by the log, where each file's rows are spread
        evenly over its windows.
        """
        if first_window >= last_window:
            return [(first_window, last_window)] if first_window == last_window else []
        held = np.zeros(last_window - first_window + 1)
        for low, high, number in self._look("documents", _held) or ():
            part = slice(max(low - first_window, 0), max(high + 1 - first_window, 0))
            held[part] += number / (high + 1 - low)
        cuts = np.flatnonzero(np.diff(np.cumsum(held) // rows)) + 1
        firsts = [first_window, *(first_window + cuts).tolist()]
        return list(zip(firsts, [*(first - 1 for first in firsts[1:]), last_window], strict=True))

    def forgotten(self) -> Ids:
        """Ids whose text must go, uint64[n, 2]: a look at a small table, a few milliseconds."""
        if self._last_number("forgotten", "forgotten") is None:
            return np.empty((0, 2), np.uint64)
        return ids_to_array(self._read("forgotten", ["id"])["id"])

    def tombstones(self) -> pa.Table:
        """Every id whose text must go, and when that was told (id, forgotten), oldest first."""
        return self._read("forgotten", ["id", "forgotten"]).sort_by("forgotten")

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

    def add_round(self, run: str, number: int, row: RoundRow) -> bool:
        """Write a round's manifest down; False if that round of that run is written already."""
        return self._append("rounds", f"rounds/{run}", number, sealed_round(run, number, row))

    def num_rounds(self, run: str) -> int:
        """How many rounds of this run are written down: one look at the log, no data read."""
        last = self._last_number("rounds", f"rounds/{run}")
        return 0 if last is None else last + 1

    def runs(self) -> set[str]:
        """Names of all runs that have rounds or notes."""
        tables = (self._read(name, ["run"]) for name in ("rounds", "ledger"))
        return {run for table in tables for run in pc.unique(table["run"]).to_pylist()}

    def rounds(self, run: str | None = None, number: int | None = None) -> pa.Table:
        """Read manifests in order: of every run or one, all rounds or one."""
        wanted: dict[str, int | str | None] = {"run": run, "round": number}
        prune = [(name, "=", value) for name, value in wanted.items() if value is not None]
        condition = None
        for name, _, value in prune:
            same = pc.field(name) == value
            condition = same if condition is None else condition & same
        table = self._read("rounds", None, condition, prune).sort_by([("run", "ascending"), ("round", "ascending")])
        if run is not None and number is not None and table.num_rows != int(0 <= number < self.num_rounds(run)):
            raise self._incomplete("rounds", run, {number})
        return unsealed_rounds(table, self.store.delta_uri("rounds"))

    def round_batches(self) -> Iterator[pa.RecordBatch]:
        """Read the manifests of every run a few at a time, in no order, to look for documents in all of them."""
        table = self.table("rounds")
        if table is not None:
            for batch in self.dataset(table).to_batches(batch_size=1, batch_readahead=1, fragment_readahead=1):
                yield from unsealed_rounds(pa.Table.from_batches([batch]), table.table_uri).to_batches()

    def add_ledger(self, run: str, entry: LedgerEntry) -> bool:
        """Note the checkpoint a run stands at; False if its last note says the same.

        Usually steps grow; after a damaged checkpoint was put aside the next note goes back, and counts.
        """
        while True:  # until the last note says the same or ours is the next: each lost race is another's note
            last = self._last_note(run)
            if last is not None and all(last[1][key] == value for key, value in entry.items()):
                return False
            sequence = 0 if last is None else last[0] + 1
            row: LedgerRow = {"run": run, "sequence": sequence, "committed": datetime.now(UTC), **entry}
            if self._append("ledger", f"ledger/{run}", sequence, sealed_note(row)):
                return True

    def ledger(self, run: str | None = None) -> pa.Table:
        """Read the committed checkpoints of a run (or of all) in the order in which they came to count."""
        condition = pc.field("run") == run if run is not None else None
        last = self._last_number("ledger", f"ledger/{run}") if run is not None else None
        table = self._read("ledger", None, condition).sort_by([("run", "ascending"), ("sequence", "ascending")])
        there = table["sequence"].to_pylist()
        if last is not None and there[: last + 1] != list(range(last + 1)):
            raise self._incomplete("ledger", run, set(range(last + 1)) - set(there))
        return unsealed_notes(table, self.store.delta_uri("ledger"))

    def _incomplete(self, name: str, run: str | None, missing: set[int]) -> DamagedError:
        which = f"rows {', '.join(map(str, sorted(missing)[:8]))} of run {run} are not there, or twice"
        return DamagedError(f"{self.store.delta_uri(name)} is damaged: {which}; {MEND}")

    def _last_note(self, run: str) -> tuple[int, Mapping[str, object]] | None:
        last = self._last_number("ledger", f"ledger/{run}")
        if last is None:
            return None
        same = (pc.field("run") == run) & (pc.field("sequence") == last)
        rows = self._read("ledger", None, same, [("sequence", "=", last)])
        if rows.num_rows != 1:
            raise self._incomplete("ledger", run, {last})
        return last, unsealed_notes(rows, self.store.delta_uri("ledger")).to_pylist()[0]


def _held(table: DeltaTable) -> list[tuple[int, int, int]]:
    """First window, last window and number of rows of each file that holds any."""
    files = table.get_add_actions(flatten=True)
    columns = (files.column(name).to_pylist() for name in ("min.window", "max.window", "num_records"))
    return [found for found in zip(*columns, strict=True) if None not in found]
