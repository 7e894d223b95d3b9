"""The histories as ingest uses them, but their indexes are written every few windows, or never."""

from cluster.storage.store import Store
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import Restored
from data_ops.curation.history.id_history import IdHistory
from data_ops.curation.history.near import NearDuplicates
from data_ops.curation.history.near_history import NearHistory
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
from data_ops.index.kept import LakeLog
from data_ops.index.known_ids import KnownIds
from data_ops.index.known_sketches import KnownSketches

AT_ONCE = 600  # two windows and some ids


class OftenKept(ExactDuplicates):
    """Writes a file every few windows."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        ids = KnownIds(IndexFolder(store), log.mark, AT_ONCE)
        return Restored(IdHistory(ids), ids)


class OftenKeptNear(NearDuplicates):
    """Writes files every few windows."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        sketches = KnownSketches(IndexFolder(store, KNOWN_SKETCHES), log, self.agreement, AT_ONCE)
        return Restored(NearHistory(sketches), sketches)


class NeverKeptNear(NearDuplicates):
    """Reads all texts at each start."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        return Restored(self.open(), None)


class NeverKept(ExactDuplicates):
    """Reads the whole lake at each start."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        return Restored(self.open(), None)
