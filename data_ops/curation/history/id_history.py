"""What does the rule of exact duplicates remember: ids in memory, or in the files of a store?"""

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.history.history import Restored
from data_ops.index.folder import IndexFolder
from data_ops.index.kept import LakeLog
from data_ops.index.known_ids import KnownIds
from data_ops.kernels.arrays import Bools, ids_to_array
from data_ops.kernels.seen_ids import SeenIds


class IdHistory:
    """The ids of all documents added."""

    def __init__(self, ids: SeenIds | KnownIds) -> None:
        self.ids = ids

    def add(self, sketches: pa.Table) -> Bools:
        """Remember ids; True where one is new."""
        return self.ids.add_new(ids_to_array(sketches["id"]))

    def look(self, sketches: pa.Table) -> Bools:
        """Say which ids were added before."""
        return self.ids.contains(ids_to_array(sketches["id"]))


def id_history(place: tuple[Store, LakeLog] | None) -> Restored:
    """The ids that a store has kept; without one an empty set in memory."""
    if place is None:
        return Restored(IdHistory(SeenIds()), None)
    store, log = place
    ids = KnownIds(IndexFolder(store), log.mark)
    return Restored(IdHistory(ids), ids)
