"""Is a text the same, to the last character, as one that the store has kept or held out?

Exact: a set of 128-bit ids, without the false drops of a Bloom filter. The store keeps it in sorted files, 18 bytes an
id, of which two are asked for at every question (`data_ops/index/known_ids.py`); only the last windows are in memory.
"""

from typing import ClassVar

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.history.history import History, HistoryRule, Restored
from data_ops.index.kept import LakeLog


class ExactDuplicates(HistoryRule):
    """Drop texts that were kept or held out before, to the last character."""

    columns: ClassVar[tuple[str, ...]] = ("id",)

    def sketch(self, documents: pa.Table) -> pa.Table:
        """The ids are all that is compared."""
        return documents.select(["id"])

    def open(self) -> History:
        """Begin without any id."""
        return _memory(None).history

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Open the index of the store."""
        return _memory((store, log))


def _memory(place: tuple[Store, LakeLog] | None) -> Restored:
    from data_ops.curation.history.id_history import id_history  # numba, 0.5 s: not for reading a configuration

    return id_history(place)
