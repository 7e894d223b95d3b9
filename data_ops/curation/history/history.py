"""How is a document compared with everything the store has kept, and where does that memory come from?

A `HistoryRule` is a frozen configuration like any rule; what it remembers is a `History`, a plain object that one actor
holds (`data_ops/ingest/seen.py`). The memory is a function of (lake, window): it is given the documents of every
committed window once, and one that died is filled again from the lake. So it never needs to be saved, and a document of
a window is compared with the windows before it and never with what happens to be there. The price is one pass over the
columns it reads at every start of ingest, or, where a store keeps the memory, over the windows behind what was kept.
"""

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Protocol

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.curation.rules.rule import Meaning
from data_ops.index.kept import Kept, LakeLog
from data_ops.kernels.arrays import Bools


class History(Protocol):
    """What a rule remembers. The answers depend on which documents were added, never on order, calls or batches."""

    def add(self, sketches: pa.Table) -> Bools:
        """Remember documents; True where one is unlike all before it, the earlier ones of this call included."""
        ...

    def look(self, sketches: pa.Table) -> Bools:
        """Say which documents are like one that was added; remembers nothing."""
        ...


class Restored(NamedTuple):
    """A memory, and what tells how far it goes where a store keeps it; None where it begins empty."""

    history: History
    kept: Kept | None


class HistoryRule(Meaning):
    """One way to compare with history, with its settings. Its docstring says what it drops."""

    #: What it reads of a document: names of DOCUMENT_SCHEMA, among them id, source, event_time, external_id, text.
    columns: ClassVar[tuple[str, ...]]

    @abstractmethod
    def sketch(self, documents: pa.Table) -> pa.Table:
        """Return what is compared, a row a document: pure, computed in the task that read it, small to send."""

    @abstractmethod
    def open(self) -> History:
        """Return an empty memory."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Return the memory that the store has kept; by default an empty one, as nothing is kept."""
        return Restored(self.open(), None)
