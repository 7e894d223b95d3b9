"""Is a text the same, to the last character, as one that the store has kept or held out?

Exact: a set of 128-bit ids, 32 to 64 bytes of memory an id (`data_ops/kernels/seen_ids.py`), without the false drops of
a Bloom filter.
"""

from typing import ClassVar

import pyarrow as pa

from data_ops.curation.history.history import HistoryRule
from data_ops.kernels.arrays import Bools, ids_to_array


class ExactDuplicates(HistoryRule):
    """Drop texts that were kept or held out before, to the last character."""

    columns: ClassVar[tuple[str, ...]] = ("id",)

    def sketch(self, documents: pa.Table) -> pa.Table:
        """The ids are all that is compared."""
        return documents.select(["id"])

    def open(self) -> "IdHistory":
        """Begin without any id."""
        return IdHistory()


class IdHistory:
    """The ids of all documents added."""

    def __init__(self) -> None:
        from data_ops.kernels.seen_ids import SeenIds  # numba, 0.5 s: not for reading a configuration

        self.ids: SeenIds = SeenIds()

    def add(self, sketches: pa.Table) -> Bools:
        """Remember ids; True where one is new."""
        return self.ids.add_new(ids_to_array(sketches["id"]))

    def look(self, sketches: pa.Table) -> Bools:
        """Say which ids were added before."""
        return self.ids.contains(ids_to_array(sketches["id"]))
