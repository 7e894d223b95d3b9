"""Which documents has the store kept already? One actor that holds every history, and follows the lake by windows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_ops.curation.history.history import HistoryRule, Restored
from data_ops.documents.fates import drop, living
from data_ops.index.kept import LostError
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = 100_000  # how much of the log is held in memory while the histories catch up
FORGOTTEN = "forgotten"

Sketches = dict[str, pa.Table]  # reason -> what that history compares


@dataclass
class Follower:
    """A history and the last window that it has: what the store keeps says so itself, and may fall back."""

    rule: HistoryRule
    restored: Restored
    taken: int = -1

    @property
    def window(self) -> int:
        """The last window that it has."""
        return self.taken if self.restored.kept is None else self.restored.kept.window

    def take(self, rows: pa.Table, window: int) -> None:
        """Add the rows of all windows behind its own up to this one."""
        self.restored.history.add(self.rule.sketch(rows))
        if self.restored.kept is not None:
            self.restored.kept.keep(window)
        self.taken = window


class Histories:
    """What every history remembers, and the ids that must never come again; a Ray actor.

    All of it is a function of the lake, from which it is rebuilt or, where the store keeps a history, gone on with.
    """

    def __init__(self, lake: Lake, rules: Mapping[str, HistoryRule]) -> None:
        self.lake, self.rules = lake, rules
        self.followers: dict[str, Follower] = {}
        self.forgotten, self.last_window = SeenIds(), -1

    def advance(self, window: int) -> None:
        """Take in every committed window up to this one."""
        if not self.followers:
            store, rules = self.lake.store, self.rules
            self.followers = {reason: Follower(rule, rule.restore(store, self.lake)) for reason, rule in rules.items()}
        if window > self.last_window:
            self.last_window = min(window, self.lake.last_window())
            self.forgotten.add_new(self.lake.forgotten())
        windows = [follower.window for follower in self.followers.values()]
        while windows and (behind := min(windows)) < self.last_window:
            self._follow(behind, min([self.last_window, *(other for other in windows if other > behind)]))
            windows = [follower.window for follower in self.followers.values()]

    def _follow(self, behind: int, window: int) -> None:
        """Give those that have the windows up to `behind` what follows, up to a window."""
        group = [follower for follower in self.followers.values() if follower.window == behind]
        columns = list(dict.fromkeys(name for follower in group for name in ("id", *follower.rule.columns)))
        for first, last in self.lake.stretches(behind + 1, window, ROWS_AT_ONCE):
            rows = self.lake.documents(first, last, columns, ["kept", "held_out", "forgotten"])
            for follower in group:
                with suppress(LostError):  # it has fallen back
                    follower.take(rows, last)
            if any(follower.window != last for follower in group):
                return

    def look(self, window: int, ids: pa.Array, sketches: Sketches) -> pa.Array:
        """Give each document of a window the reason why it goes, null where it stays: compared with windows before it.

        The text of a forgotten document goes as forgotten, whatever the histories say; then the first history decides.
        A history that the store keeps may know later windows, where another ingest has committed this one and those
        behind it: then that one's rows stand, and what is answered here is not used.
        """
        reasons = np.full(len(ids), None, dtype=object)
        while True:
            self.advance(window - 1)
            try:
                for reason in reversed(self.followers):
                    reasons[self.followers[reason].restored.history.look(sketches[reason])] = reason
            except LostError:
                reasons[:] = None
            else:
                break
        reasons[self.forgotten.contains(ids_to_array(ids))] = FORGOTTEN
        return pa.array(reasons, pa.string())

    def notes(self) -> list[str]:
        """What a person should be told of the histories since this was asked last."""
        notes = []
        for kept in (follower.restored.kept for follower in self.followers.values()):
            if kept is not None:
                notes += kept.notes
                kept.notes.clear()
        return notes


def sketches_of(documents: pa.Table, rules: Mapping[str, HistoryRule]) -> Sketches:
    """Return what each history compares of these documents (CURATED_SCHEMA)."""
    return {reason: rule.sketch(documents.select(list(rule.columns))) for reason, rule in rules.items()}


def drop_repeats(table: pa.Table, rules: Mapping[str, HistoryRule]) -> pa.Table:
    """Of documents of one window that are alike, the first one stays."""
    for reason, rule in rules.items():
        alive = np.flatnonzero(living(table))
        documents = table.select(list(rule.columns)).take(pa.array(alive))
        repeated = np.zeros(table.num_rows, bool)
        repeated[alive[~rule.open().add(rule.sketch(documents))]] = True
        table = drop(table, repeated, reason)
    return table
