"""How are records counted, and some of each kind chosen, without holding them?

Both take a stretch of records at a time and hold what is left of all before: a row a group, and the few records of each
group with the smallest hashes. Neither depends on where a stretch ends.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from data_ops.documents.place import place_keys
from data_ops.kernels.arrays import Bools, Words
from data_ops.kernels.mixing import mix64


class GroupSums:
    """Sums of some columns by some others."""

    def __init__(self, keys: Sequence[str], values: Sequence[str]) -> None:
        self.keys, self.values = list(keys), list(values)
        self._sums: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Count these rows; the table has all columns."""
        new = self._grouped(rows.select([*self.keys, *self.values]))
        self._sums = new if self._sums is None else self._grouped(pa.concat_tables([self._sums, new]))

    def table(self) -> pa.Table | None:
        """A row a group, ordered by its keys, with the sums; None before anything was counted."""
        return None if self._sums is None else self._sums.sort_by([(name, "ascending") for name in self.keys])

    def _grouped(self, rows: pa.Table) -> pa.Table:
        found = rows.group_by(self.keys).aggregate([(name, "sum") for name in self.values])
        return found.rename_columns([name.removesuffix("_sum") for name in found.column_names])


class PlaceSample:
    """The `number` rows of each group with the smallest hashes of their places: a sample, whatever the order."""

    def __init__(self, keys: Sequence[str], number: int, seed: int) -> None:
        """The rows need window and position."""
        self.keys, self.number, self.seed = list(keys), number, seed
        self._rows: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Look at these rows."""
        if self.number and rows.num_rows:
            new = self._trimmed(rows.select([*self.keys, "window", "position"]))
            self._rows = new if self._rows is None else self._trimmed(pa.concat_tables([self._rows, new]))

    def table(self) -> pa.Table | None:
        """The chosen rows, group by group, the smallest hash first; None where there are none."""
        if self._rows is None:
            return None
        hashes = pa.array(self._hashes(self._rows))
        ordered = [(name, "ascending") for name in [*self.keys, "hash"]]
        return self._rows.append_column("hash", hashes).sort_by(ordered).drop_columns(["hash"])

    def _trimmed(self, rows: pa.Table) -> pa.Table:
        groups, hashes = np.zeros(rows.num_rows, np.int64), self._hashes(rows)
        for name in self.keys:
            column = rows[name].combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            codes = column.dictionary_encode(null_encoding="encode")
            groups = np.unique(groups * len(codes.dictionary) + codes.indices.to_numpy(), return_inverse=True)[1]
        order = np.lexsort((hashes, groups))
        return rows.take(pa.array(np.sort(order[_is_early(groups[order], self.number)])))

    def _hashes(self, rows: pa.Table) -> Words:
        start = mix64(np.array([self.seed % 2**64], np.uint64))
        places = place_keys(rows["window"].to_numpy(), rows["position"].to_numpy()).astype(np.uint64)
        return mix64(mix64(places) ^ start)


def _is_early(groups: np.ndarray, number: int) -> Bools:
    """Which of the rows, ordered by group, are among the first `number` of their group.

    >>> _is_early(np.array([0, 0, 0, 4, 7, 7]), 2).tolist()
    [True, True, False, True, True, True]
    """
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    rank = np.arange(len(groups)) - np.repeat(begins, np.diff(begins, append=len(groups)))
    early: Bools = rank < number
    return early
