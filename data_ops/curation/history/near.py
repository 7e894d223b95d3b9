"""Is a text nearly one that the store has kept or held out: a copy with another date, a page with another menu?

MinHash signatures of sequences of five words (`data_ops/kernels/texts/minhash.py`), compared with those of everything
that was kept, which lie in sorted files of the store (`data_ops/index/known_sketches.py`), 372 bytes a document; a
start reads the texts of the last windows alone. The first that came stays, since it may be trained already. Of texts of
one window that are alike in a chain, the first stays.
"""

import math
from typing import Annotated, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cluster.storage.store import Store
from cluster.units import Share
from data_ops.curation.history.history import HistoryRule, Restored
from data_ops.index.kept import LakeLog
from data_ops.kernels.arrays import Bools, Bytes, Words, ids_to_array

NUM_HASHES, NUM_BANDS = 112, 14  # of data_ops/kernels/texts/minhash.py, which needs numba
Likeness = Annotated[Share, Field(ge=0.5, description="Share of word sequences that both have; estimated, ± 0.04.")]


class NearDuplicates(HistoryRule):
    """Drop texts that are nearly one that was kept or held out before."""

    columns: ClassVar[tuple[str, ...]] = ("id", "text")
    likeness: Likeness = 0.8

    def sketch(self, documents: pa.Table) -> pa.Table:
        """An id, a signature and bands a document; none of one whose text was forgotten."""
        from data_ops.kernels.texts.minhash import minhash  # numba, 0.5 s: not for reading a configuration

        documents = documents.filter(pc.is_valid(documents["text"])) if documents["text"].null_count else documents
        text = documents["text"]
        found = minhash(text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text)
        columns = {"signature": _binary(found.signatures), "bands": _binary(found.bands.view(np.uint8))}
        return pa.table({"id": documents["id"], **columns})

    def open(self) -> "NearHistory":
        """Begin without any signature."""
        from data_ops.kernels.near_index import NearIndex  # numba, as above

        return NearHistory(NearIndex(NUM_HASHES, NUM_BANDS, self.agreement))

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Open the index of the store."""
        from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
        from data_ops.index.known_sketches import KnownSketches  # numba, as above

        sketches = KnownSketches(IndexFolder(store, KNOWN_SKETCHES), log, self.agreement)
        return Restored(NearHistory(sketches), sketches)

    @property
    def agreement(self) -> int:
        """Of how many hashes two texts that are alike share eight bits."""
        return math.ceil(NUM_HASHES * (self.likeness + (1 - self.likeness) / 256))  # of others one in 256 is equal


class SketchSet(Protocol):
    """A growing set of sketches, in memory or in files of a store."""

    def add(self, ids: Words, signatures: Bytes, bands: Words) -> Bools:
        """Add sketches; True where one is unlike all before it, the earlier ones of this call included."""
        ...

    def look(self, signatures: Bytes, bands: Words) -> Bools:
        """Say which sketches are like one that was added; adds none."""
        ...


class NearHistory:
    """The sketches of all documents added."""

    def __init__(self, index: SketchSet) -> None:
        self.index = index

    def add(self, sketches: pa.Table) -> Bools:
        """Remember sketches; True where one is unlike all before it."""
        ids = ids_to_array(sketches["id"])
        return self.index.add(np.ascontiguousarray(ids[:, 0]), *_arrays(sketches))

    def look(self, sketches: pa.Table) -> Bools:
        """Say which sketches are like one that was added before."""
        return self.index.look(*_arrays(sketches))


def _binary(rows: Bytes) -> pa.Array:
    """Rows of bytes as a column."""
    width = rows.shape[1]
    return pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def _arrays(sketches: pa.Table) -> tuple[Bytes, Words]:
    """Signatures uint8[n, 112] and bands uint64[n, 14] of a table that `sketch` made."""
    found = []
    for name, width in (("signature", NUM_HASHES), ("bands", 8 * NUM_BANDS)):
        column = sketches[name]
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
        found.append(data[array.offset * width : (array.offset + len(array)) * width].reshape(len(array), width))
    return found[0], found[1].view(np.uint64)
