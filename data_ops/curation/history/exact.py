"""Is a text the same, to the last character, as one that the store has kept or held out?

Exact: a set of 128-bit ids, without the false drops of a Bloom filter. The store keeps it in sorted files, 18 bytes an
id, of which two are asked for at every question (`data_ops/index/known_ids.py`); only the last windows are in memory.
"""

from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.history.history import HistoryRule, Restored
from data_ops.index.kept import MarkOf
from data_ops.kernels.arrays import Bools, ids_to_array

if TYPE_CHECKING:
    from data_ops.index.known_ids import KnownIds
    from data_ops.kernels.seen_ids import SeenIds

FOLDER = "index/ids"  # of the store


class ExactDuplicates(HistoryRule):
    """Drop texts that were kept or held out before, to the last character."""

    columns: ClassVar[tuple[str, ...]] = ("id",)

    def sketch(self, documents: pa.Table) -> pa.Table:
        """The ids are all that is compared."""
        return documents.select(["id"])

    def open(self) -> "IdHistory":
        """Begin without any id."""
        from data_ops.kernels.seen_ids import SeenIds  # numba, 0.5 s: not for reading a configuration

        return IdHistory(SeenIds())

    def restore(self, store: Store, mark_of: MarkOf) -> Restored:
        """Open the index of the store."""
        from data_ops.index.folder import IndexFolder
        from data_ops.index.known_ids import KnownIds  # numba, as above

        ids = KnownIds(IndexFolder(store, FOLDER), mark_of)
        return Restored(IdHistory(ids), ids)


class IdHistory:
    """The ids of all documents added."""

    def __init__(self, ids: "SeenIds | KnownIds") -> None:
        self.ids = ids

    def add(self, sketches: pa.Table) -> Bools:
        """Remember ids; True where one is new."""
        return self.ids.add_new(ids_to_array(sketches["id"]))

    def look(self, sketches: pa.Table) -> Bools:
        """Say which ids were added before."""
        return self.ids.contains(ids_to_array(sketches["id"]))
