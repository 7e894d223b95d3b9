"""Which documents has the store kept already? One actor that holds every history, and follows the lake by windows."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from data_ops.curation.history.history import HistoryRule
from data_ops.documents.fates import drop, living
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = 100_000  # how much of the log is held in memory while the histories catch up
FORGOTTEN = "forgotten"

Sketches = dict[str, pa.Table]  # reason -> what that history compares


class Histories:
    """What every history remembers, and the ids that must never come again; a Ray actor, rebuilt from the lake."""

    def __init__(self, lake: Lake, rules: Mapping[str, HistoryRule]) -> None:
        self.lake, self.rules, self.last_window = lake, rules, -1
        self.histories = {reason: rule.open() for reason, rule in rules.items()}
        self.forgotten = SeenIds()

    def advance(self, window: int) -> None:
        """Take in every committed window up to this one."""
        columns = list(dict.fromkeys(name for rule in self.rules.values() for name in ("id", *rule.columns)))
        for first, last in self.lake.stretches(self.last_window + 1, window, ROWS_AT_ONCE):
            rows = self.lake.documents(first, last, columns, ["kept", "held_out", "forgotten"])
            for reason, history in self.histories.items():
                history.add(self.rules[reason].sketch(rows))
            self.forgotten.add_new(self.lake.forgotten())
            self.last_window = last

    def look(self, window: int, ids: pa.Array, sketches: Sketches) -> pa.Array:
        """Give each document of a window the reason why it goes, null where it stays: compared with windows before it.

        The text of a forgotten document goes as forgotten, whatever the histories say; then the first history decides.
        """
        self.advance(window - 1)
        reasons = np.full(len(ids), None, dtype=object)
        for reason in reversed(self.histories):
            reasons[self.histories[reason].look(sketches[reason])] = reason
        reasons[self.forgotten.contains(ids_to_array(ids))] = FORGOTTEN
        return pa.array(reasons, pa.string())


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
