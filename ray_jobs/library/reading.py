"""What does a program read of a store: which documents count, what ingest took in, what a run planned, who is champion?

Only committed windows are shown, and what was forgotten is gone from every answer, whether its files were rewritten yet
or not: the lake's own readers decide it (`data_ops.lake.lake`), the same that training asks. Looking takes no lease.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import msgspec
import numpy as np
import pyarrow as pa

from cluster.storage.store import Store
from data_ops.audit.account import Account, account, read_stand
from data_ops.documents.document import DOCUMENT_SCHEMA, FATES
from data_ops.documents.place import Documents
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.library.table import StoreTable
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import runs_of

ROWS_AT_ONCE = 50_000
TIME = pa.timestamp("us", tz="UTC")
WINDOWS = pa.schema(
    [
        ("window", pa.int64()),
        ("arrived", TIME),
        ("seconds", pa.float64()),
        ("read", pa.int64()),
        ("kept", pa.int64()),
        ("held_out", pa.int64()),
        ("dropped", pa.int64()),
        ("quarantined", pa.int64()),
    ]
)
ROUNDS = pa.schema(
    [
        ("run", pa.string()),
        ("round", pa.int64()),
        ("closed", pa.string()),
        ("steps", pa.int64()),
        ("trained_steps", pa.int64()),  # that are in the weights, by the last commit
        ("batch_rows", pa.int64()),
        ("row_tokens", pa.int64()),
        ("fresh_documents", pa.int64()),
        ("fresh_tokens", pa.int64()),
        ("replay_documents", pa.int64()),
        ("replay_tokens", pa.int64()),
        ("shed_documents", pa.int64()),
    ]
)


class OpenedStore:
    """A store to look into."""

    def __init__(self, uri: str) -> None:
        """Name the store: a folder, s3://... or gs://... Raises ConfigError where there is none."""
        self.store = Store.open(uri)
        self.lake = Lake(self.store)
        if not self.store.exists("windows"):
            raise ConfigError(f"store {uri} holds no lake; run `headrace run` or `headrace ingest` first")

    def __repr__(self) -> str:
        return f"OpenedStore({self.store.uri!r})"

    @property
    def runs(self) -> list[str]:
        """Names of the runs in the store, sorted."""
        return sorted({*runs_of(self.store), *(run for run in self.lake.runs() if "@" not in run)})

    def documents(
        self,
        columns: Iterable[str] = ("id", "source", "event_time", "text"),
        fates: Iterable[str] = ("kept",),
        first_window: int = 0,
        last_window: int | None = None,
    ) -> StoreTable:
        """Documents in the order of the log. `id` is text of 32 digits, as `headrace trace` shows it.

        columns: of docs/api.md. fates: kept, held_out, dropped, quarantined, forgotten. Raises ConfigError for others.
        """
        names, wanted = list(columns), list(fates)
        _check("column", names, DOCUMENT_SCHEMA.names)
        _check("fate", wanted, FATES)

        schema = _readable(DOCUMENT_SCHEMA.empty_table(), names).schema
        return StoreTable(schema, partial(self._documents, names, wanted, first_window, last_window))

    def windows(self) -> StoreTable:
        """What each committed window took in, a row a window."""
        return StoreTable(WINDOWS, self._windows)

    def rounds(self, run: str | None = None) -> StoreTable:
        """What a run planned to train on, a row a round; run: absent for the store's only one."""
        name = self.only_run(run)
        return StoreTable(ROUNDS, partial(self._rounds, name))

    def verify(self, run: str | None = None) -> Account:
        """Prove from the tables alone what became of every document; run: absent for the store's only one."""
        return account(self.lake, self.only_run(run))

    def champion(self) -> dict[str, object] | None:
        """The checkpoint in service with what is known of it; None before the first promotion."""
        champion = read_champion(self.store)
        return None if champion is None else dict(msgspec.to_builtins(champion))

    def only_run(self, run: str | None) -> str:
        """The run that is named, or else the only one; ConfigError where there is none such."""
        runs = self.runs
        if run is None and len(runs) == 1:
            return runs[0]
        if run not in runs:
            which = f"no run {run}" if run is not None else f"{len(runs)} runs: name one"
            raise ConfigError(f"store {self.store.uri} has {which}; it has {', '.join(runs) or 'none'}")
        return run

    def _documents(self, names: list[str], fates: list[str], first: int, last: int | None) -> Iterator[pa.Table]:
        last = self.lake.last_window() if last is None else last
        for begin, end in self.lake.stretches(first, last, ROWS_AT_ONCE):
            yield _readable(self.lake.documents(begin, end, names, fates), names)

    def _windows(self) -> Iterator[pa.Table]:
        rows = []
        for window in self.lake.windows()[0]:
            counts = window.counts or {}
            told = {name: _total(counts.get(name, 0)) for name in WINDOWS.names[3:]}
            rows.append({"window": window.window, "arrived": window.arrived, "seconds": window.seconds, **told})
        yield pa.Table.from_pylist(rows, schema=WINDOWS)

    def _rounds(self, run: str) -> Iterator[pa.Table]:
        stand = read_stand(self.lake, run)
        table = self.lake.rounds(run)
        rows = [_round_row(run, Manifest.from_row(table, i), stand.place) for i in range(table.num_rows)]
        yield pa.Table.from_pylist(rows, schema=ROUNDS)


def _readable(table: pa.Table, names: list[str]) -> pa.Table:
    """Rows with ids as text of 32 digits."""
    columns = []
    for name in names:
        column = table[name]
        if name == "id":
            digits = [None if value is None else value.hex() for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(digits, pa.string())])
        columns.append(column)
    return pa.table(dict(zip(names, columns, strict=True)))


def _total(count: int | dict[str, int]) -> int:
    return sum(count.values()) if isinstance(count, dict) else count


def _round_row(run: str, manifest: Manifest, stand: tuple[int, int]) -> dict[str, object]:
    done = manifest.steps if manifest.round < stand[0] else stand[1] if manifest.round == stand[0] else 0
    return {
        "run": run,
        "round": manifest.round,
        "closed": manifest.closed,
        "steps": manifest.steps,
        "trained_steps": done,
        "batch_rows": manifest.batch_rows,
        "row_tokens": manifest.row_tokens,
        "shed_documents": len(manifest.shed),
        **_sizes("fresh", manifest.fresh),
        **_sizes("replay", manifest.replay),
    }


def _sizes(part: str, documents: Documents) -> dict[str, int]:
    return {f"{part}_documents": len(documents), f"{part}_tokens": int(np.sum(documents.lengths))}


def _check(what: str, names: list[str], known: Iterable[str]) -> None:
    strangers = [name for name in names if name not in known]
    if strangers:
        raise ConfigError(f"{what} {strangers[0]!r} is unknown; there are {', '.join(known)}")
