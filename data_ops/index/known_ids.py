"""Which documents are known already, in a store of any size?

A set of ids like `SeenIds`, of which only the last windows lie in memory (`data_ops/index/kept_index.py`).
"""

from collections.abc import Mapping

import numpy as np

from data_ops.index.folder import IndexFolder
from data_ops.index.kept import DamagedIndexError, MarkOf
from data_ops.index.kept_index import KeptIndex
from data_ops.kernels.arrays import Bools, Ids
from data_ops.kernels.seen_ids import SeenIds
from data_ops.kernels.sorted_rows import Rows

AT_ONCE = 1 << 18  # how many ids are held in memory before they are written


class KnownIds(KeptIndex):
    """A growing set of document ids (uint64[n, 2]), kept in a store up to a window."""

    def __init__(self, folder: IndexFolder, mark_of: MarkOf, at_once: int = AT_ONCE) -> None:
        super().__init__(folder, mark_of, at_once)

    def __len__(self) -> int:
        return len(self.recent) + sum(file.facts.num_rows for file in self.files)

    def add_new(self, ids: Ids) -> Bools:
        """Add ids; True where an id was not in the set. Of repeats within the batch only the first is new."""
        new = ~self._in_files(ids)
        new[new] = self.recent.add_new(ids[new])
        return new

    def contains(self, ids: Ids) -> Bools:
        """Say which ids are in the set, adding none."""
        found = self._in_files(ids)
        found[~found] = self.recent.contains(ids[~found])
        return found

    def _begin(self) -> None:
        self.recent = SeenIds()

    def _num_recent(self) -> int:
        return len(self.recent)

    def _recent_rows(self) -> Mapping[str, Rows]:
        return {"ids": self.recent.ids()}

    def _in_files(self, ids: Ids) -> Bools:
        if ids.dtype != np.uint64 or ids.ndim != 2 or ids.shape[1] != 2:
            raise ValueError(f"ids are {ids.dtype}{list(ids.shape)}, not uint64[n, 2]; use ids_to_array")
        found = np.zeros(len(ids), np.bool_)
        if self.files:
            order = np.argsort(ids[:, 0])  # lines are met in their order; among equal words none is needed
            in_order = np.ascontiguousarray(ids[order])
            try:
                for file in self.files:
                    found[order] |= file.contains(in_order)
            except DamagedIndexError as error:
                raise self._lost(error) from error
        return found
