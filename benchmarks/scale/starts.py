"""What does a start of ingest cost until its first document is judged, over a real lake?

Lakes of 100 windows of ids without texts, written by the lake's own commits and never compacted. The same
histories are opened with the files of the store and, in turns, as they were before these: from the whole id column.
"""

import gc
import tempfile
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from benchmarks.rows import Row, paired
from benchmarks.scale.ids import ids_at
from cluster.storage.store import Store
from data_ops.curation.config import CurateConfig
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import Restored
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.index.folder import KNOWN_IDS
from data_ops.index.kept import LakeLog
from data_ops.ingest.seen import Histories, sketches_of
from data_ops.kernels.arrays import array_to_ids
from data_ops.lake.lake import Lake
from data_ops.lake.window import Window
from data_ops.sources.protocol import Span

REPEATS, WINDOWS = 3, 100
KEPT = CurateConfig().remembered


class ReadAnew(ExactDuplicates):
    """As it was: nothing is kept."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Begin without any id."""
        return Restored(self.open(), None)


def measure(quick: bool) -> list[Row]:
    """A line a size."""
    return [at_size(num) for num in ((3 * 10**5,) if quick else (10**6, 10**7))]


def at_size(num: int) -> Row:
    """Open the histories of a lake of so many documents."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        lake = Lake(Store.open(folder))
        lake.create()
        for number in range(WINDOWS):
            add_window(lake, number, num // WINDOWS)
        start(lake, "kept")  # the one that makes the files
        if not lake.store.list(KNOWN_IDS):
            raise ValueError(f"a lake of {num} documents has no index")
        kept, anew = [], []
        for _ in range(REPEATS):
            kept.append(1e3 * start(lake, "kept"))
            anew.append(1e3 * start(lake, "anew"))
    what = f"{num:,} documents in a lake: a start until the first answer"
    return Row(what, "ms CPU", kept, "whole id column read", anew, paired(kept, anew))


def start(lake: Lake, how: str) -> float:
    """Processor seconds until a window of one known document is judged."""
    rules = KEPT if how == "kept" else {"duplicate": ReadAnew()}
    number = lake.last_window() + 1
    documents = pa.table({"id": array_to_ids(ids_at(np.arange(1)))})
    began = time.process_time()
    seen = Histories(lake, rules)
    reasons = seen.look(number, documents["id"].combine_chunks(), sketches_of(documents, rules))
    seconds = time.process_time() - began
    if reasons.to_pylist() != ["duplicate"]:
        raise ValueError(f"the first document of the lake is {reasons}")
    gc.collect()
    return seconds


def add_window(lake: Lake, number: int, size: int) -> None:
    """Commit a window of so many kept documents."""
    now, places = datetime.now(UTC), np.arange(number * size, (number + 1) * size)
    values = {
        "window": number,
        "source": "made",
        "partition": "p",
        "arrived": now,
        "weight": 1.0,
        "fate": "kept",
        "num_bytes": 0,
        "num_tokens": 0,
    }
    columns = {name: pa.array([value] * size, DOCUMENT_SCHEMA.field(name).type) for name, value in values.items()}
    columns |= {"position": pa.array(places % size), "offset": pa.array(places), "id": array_to_ids(ids_at(places))}
    rows = [columns.get(field.name, pa.nulls(size, field.type)) for field in DOCUMENT_SCHEMA]
    span = Span("p", number * size, size, 0, 1, 0.0)
    window = Window(number, {"made": [span]}, {"made": {"p": [number]}}, now, {"read": size, "kept": size}, 1.0)
    lake.plan_window(window)
    lake.commit_window(window, pa.table(rows, schema=DOCUMENT_SCHEMA))
