"""The rule of exact duplicates as ingest uses it, but its index is written every few windows."""

from cluster.storage.store import Store
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import Restored
from data_ops.curation.history.id_history import IdHistory
from data_ops.index.folder import IndexFolder
from data_ops.index.kept import LakeLog
from data_ops.index.known_ids import KnownIds

AT_ONCE = 600  # two windows and some ids


class OftenKept(ExactDuplicates):
    """Writes a file every few windows."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        ids = KnownIds(IndexFolder(store), log.mark, AT_ONCE)
        return Restored(IdHistory(ids), ids)


class NeverKept(ExactDuplicates):
    """Reads the whole lake at each start."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        return Restored(self.open(), None)
