"""What does the rule of near duplicates remember: sketches in memory, or in the files of a store?"""

import numpy as np
import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.history.history import Restored
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
from data_ops.index.kept import LakeLog
from data_ops.index.known_sketches import KnownSketches
from data_ops.kernels.arrays import Bools, Bytes, Words, ids_to_array
from data_ops.kernels.near_index import NearIndex
from data_ops.kernels.texts.minhash import NUM_BANDS, NUM_HASHES


class NearHistory:
    """The sketches of all documents added."""

    def __init__(self, index: NearIndex | KnownSketches) -> None:
        self.index = index

    def add(self, sketches: pa.Table) -> Bools:
        """Remember sketches; True where one is unlike all before it."""
        ids = ids_to_array(sketches["id"])
        return self.index.add(np.ascontiguousarray(ids[:, 0]), *_arrays(sketches))

    def look(self, sketches: pa.Table) -> Bools:
        """Say which sketches are like one that was added before."""
        return self.index.look(*_arrays(sketches))


def near_history(agreement: int, place: tuple[Store, LakeLog] | None) -> Restored:
    """The sketches that a store has kept; without one an empty set in memory."""
    if place is None:
        return Restored(NearHistory(NearIndex(NUM_HASHES, NUM_BANDS, agreement)), None)
    store, log = place
    sketches = KnownSketches(IndexFolder(store, KNOWN_SKETCHES), log, agreement)
    return Restored(NearHistory(sketches), sketches)


def _arrays(sketches: pa.Table) -> tuple[Bytes, Words]:
    """Signatures uint8[n, 112] and bands uint64[n, 14] of a table that `sketch` made."""
    found = []
    for name, width in (("signature", NUM_HASHES), ("bands", 8 * NUM_BANDS)):
        column = sketches[name]
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
        found.append(data[array.offset * width : (array.offset + len(array)) * width].reshape(len(array), width))
    return found[0], found[1].view(np.uint64)
