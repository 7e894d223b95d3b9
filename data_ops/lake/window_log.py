"""What does the `windows` table tell: what was planned, what is committed, and what are its documents?

Every row is compared with its digest, and the numbers of the committed windows have no gap, so that a row that is
changed or gone is told and never passed over.
"""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from cluster.storage.seal import DamagedError
from data_ops.lake.digest import WindowDigest, digest_of
from data_ops.lake.tables import Tables
from data_ops.lake.window import (
    BASE_COLUMNS,
    EVENTS,
    MEND,
    WINDOW_SCHEMA,
    LoggedRow,
    Window,
    read_digest,
    read_window,
    unsealed,
    window_row,
)
from data_ops.sources.protocol import Cursor


class WindowLog(Tables):
    """The log of windows of one store."""

    def plan_window(self, window: Window) -> bool:
        """Write a window's spans down before anything of it is read; False if that number was planned before."""
        return self._append("windows", "planned", window.window, window_row(window, "planned"))

    def windows(self, first_window: int = 0, *, whole: bool = True) -> tuple[list[Window], Window | None]:
        """Read the log from `first_window` on: the committed ones in order, and the one that is only planned.

        whole: raise DamagedError where a committed window is missing.
        """
        read: dict[str, dict[int, Window]] = {event: {} for event in EVENTS}
        for row in self._window_rows(first_window, None, WINDOW_SCHEMA.names, whole=whole):
            read[row["event"]][row["window"]] = read_window(row)
        committed = [read["committed"][n] for n in sorted(read["committed"])]
        open_plans = [w for n, w in sorted(read["planned"].items()) if n not in read["committed"]]
        return committed, open_plans[0] if open_plans else None

    def cursors(self, first_window: int = 0) -> list[tuple[int, dict[str, Cursor]]]:
        """The number and the changed cursors of each committed window from `first_window` on, in order.

        What a starting ingest needs of all windows: half of the time of reading their spans and counts too.
        """
        rows = self._window_rows(first_window, None, [*BASE_COLUMNS, "cursors"])
        return [(row["window"], json.loads(row["cursors"])) for row in rows if row["event"] == "committed"]

    def digests(self, first_window: int, last_window: int) -> dict[int, list[WindowDigest]]:
        """What the documents of each committed window may be; [] for one of an older version, which has no digest."""
        found: dict[int, list[WindowDigest]] = {}
        for row in self._window_rows(first_window, last_window, BASE_COLUMNS, whole=False):
            if row["event"] != "planned":
                digest = read_digest(row)
                found.setdefault(row["window"], []).extend([] if digest is None else [digest])
        return found

    def note_erased(self, first_window: int, rows: pa.Table) -> None:
        """Write down what the documents of windows will be, from `first_window` on, once these rows are written.

        Windows without a digest stay without one.
        """
        numbers = rows["window"].to_numpy()
        last = int(numbers[-1]) if len(numbers) else first_window
        committed = {w.window: w for w in self.windows(first_window)[0] if w.window <= last and w.documents is not None}
        new = []
        for number, window in committed.items():
            low, high = np.searchsorted(numbers, [number, number + 1]).tolist()
            bare = replace(window, spans={}, cursors={}, counts=None, documents=digest_of(rows.slice(low, high - low)))
            new.append(window_row(bare, "erased"))
        done = self._last_number("windows", "erased")
        if new:
            self._append("windows", "erased", 0 if done is None else done + 1, pa.concat_tables(new))

    def _window_rows(self, first: int, last: int | None, columns: list[str], *, whole: bool = True) -> list[LoggedRow]:
        """Rows of `windows` in order, unsealed; DamagedError where a row is damaged or a committed one is missing."""
        end = self.last_window()
        table = self._read("windows", columns, *_window_range(first, last))
        rows = sorted(unsealed(table, self.store.delta_uri("windows")), key=lambda row: row["window"])
        if not whole:
            return rows
        there = {row["window"] for row in rows if row["event"] == "committed"}
        missing = set(range(first, (end if last is None else min(end, last)) + 1)) - there
        if missing or (there and max(there) > max(end, self.last_window())):
            which = f"window {min(missing)}" if missing else "the number of the last window"
            raise DamagedError(f"{self.store.delta_uri('windows')} is damaged: {which} is missing; {MEND}")
        return rows

    def last_window(self) -> int:
        """Number of the last committed window, -1 when there is none: one look at the log, no data read."""
        last = self._last_number("windows", "committed")
        return -1 if last is None else last

    def arrivals(self, first_window: int, last_window: int) -> dict[int, float]:
        """When the records of each committed window arrived, in seconds since 1970."""
        rows = self._window_rows(first_window, last_window, BASE_COLUMNS)
        return {row["window"]: row["arrived"].timestamp() for row in rows if row["event"] == "committed"}

    def mark(self, number: int) -> str | None:
        """What tells a committed window from that of another lake: its arrival and documents; None if not committed."""
        for row in self._window_rows(number, number, BASE_COLUMNS):
            if row["event"] == "committed":
                documents = msgspec.json.encode(read_digest(row), order="deterministic")
                return f"{row['arrived'].timestamp():.6f} {xxhash.xxh3_64_hexdigest(documents)}"
        return None


def _window_range(first: int, last: int | None) -> tuple[pc.Expression, list[tuple[str, str, int]]]:
    """The condition, and what prunes files, of windows first..last (None: all behind)."""
    condition = pc.field("window") >= first
    if last is None:
        return condition, [("window", ">=", first)]
    return condition & (pc.field("window") <= last), between(first, last)


def between(first: int, last: int) -> list[tuple[str, str, int]]:
    """What prunes the files of windows first..last."""
    return [("window", ">=", first), ("window", "<=", last)]
