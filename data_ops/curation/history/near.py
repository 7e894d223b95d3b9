"""Is a text nearly one that the store has kept or held out: a copy with another date, a page with another menu?

MinHash signatures of sequences of five words (`data_ops/kernels/texts/minhash.py`), compared with those of everything
that was kept, which lie in sorted files of the store (`data_ops/index/known_sketches.py`), 372 bytes a document; a
start reads the texts of the last windows alone. The first that came stays, since it may be trained already. Of texts of
one window that are alike in a chain, the first stays.
"""

import math
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cluster.storage.store import Store
from cluster.units import Share
from data_ops.curation.history.history import History, HistoryRule, Restored
from data_ops.index.kept import LakeLog
from data_ops.kernels.arrays import Bytes

NUM_HASHES = 112  # of data_ops/kernels/texts/minhash.py, which needs numba
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

    def open(self) -> History:
        """Begin without any signature."""
        return self._memory(None).history

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Open the index of the store."""
        return self._memory((store, log))

    @property
    def agreement(self) -> int:
        """Of how many hashes two texts that are alike share eight bits."""
        return math.ceil(NUM_HASHES * (self.likeness + (1 - self.likeness) / 256))  # of others one in 256 is equal

    def _memory(self, place: tuple[Store, LakeLog] | None) -> Restored:
        from data_ops.curation.history.near_history import near_history  # numba, as above

        return near_history(self.agreement, place)


def _binary(rows: Bytes) -> pa.Array:
    """Rows of bytes as a column."""
    width = rows.shape[1]
    return pa.Array.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])
