"""What does a start of ingest cost until its first document is judged, over a real lake?

Lakes of 100 windows, of ids without texts for exact duplicates and of short texts for near ones, written by the lake's
own commits and never compacted. The same histories are opened with the files of the store and, in turns, as they were
before these: from the whole id column, and from all texts.
"""

import gc
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from benchmarks.rows import Row, paired
from benchmarks.scale.ids import ids_at
from cluster.storage.store import Store
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import HistoryRule, Restored
from data_ops.curation.history.near import NearDuplicates
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.index.folder import KNOWN_IDS, KNOWN_SKETCHES
from data_ops.index.kept import LakeLog
from data_ops.ingest.seen import Histories, sketches_of
from data_ops.kernels.arrays import array_to_ids
from data_ops.kernels.mixing import mix64
from data_ops.lake.lake import Lake
from data_ops.lake.window import Window
from data_ops.sources.protocol import Span

Rules = Mapping[str, HistoryRule]
REPEATS, WINDOWS = 3, 100
WORDS = 16  # of a made text, 272 bytes
KEPT: Rules = {"duplicate": ExactDuplicates()}
KEPT_SKETCHES: Rules = {"near_duplicate": NearDuplicates()}


class ReadAnew(ExactDuplicates):
    """As it was: nothing is kept."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Begin without any id."""
        return Restored(self.open(), None)


class SketchAnew(NearDuplicates):
    """As it was: all texts are read."""

    def restore(self, store: Store, log: LakeLog) -> Restored:
        """Begin without any sketch."""
        return Restored(self.open(), None)


def measure(quick: bool) -> list[Row]:
    """The lines of each size."""
    rows = [row for num in ((3 * 10**5,) if quick else (10**6, 10**7)) for row in of_ids(num)]
    return rows + [row for num in (10**5, *(() if quick else (10**6,))) for row in of_texts(num)]


def of_ids(num: int) -> list[Row]:
    """A start of exact duplicates over a lake of so many documents."""
    return _at_size(num, f"{num:,} documents in a lake", KEPT, {"duplicate": ReadAnew()}, KNOWN_IDS)


def of_texts(num: int) -> list[Row]:
    """A start of near duplicates over a lake of so many texts."""
    what = f"{num:,} texts of {17 * WORDS} bytes in a lake, near duplicates"
    return _at_size(num, what, KEPT_SKETCHES, {"near_duplicate": SketchAnew()}, KNOWN_SKETCHES)


def _at_size(num: int, what: str, rules: Rules, anew: Rules, index: str) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        lake = Lake(Store.open(folder))
        lake.create()
        for number in range(WINDOWS):
            add_window(lake, number, num // WINDOWS, texts=index == KNOWN_SKETCHES)
        first = 1e3 * start(lake, rules)  # the one that makes the files
        if not lake.store.list(index):
            raise ValueError(f"a lake of {num} documents has no index")
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(1e3 * start(lake, rules))
            theirs.append(1e3 * start(lake, anew))
    compared = Row(f"{what}: a start until the first answer", "ms CPU", ours, "all read", theirs, paired(ours, theirs))
    return [compared, Row(f"· {what}: the first start, which makes the files", "ms CPU", [first])]


def start(lake: Lake, rules: Rules) -> float:
    """Processor seconds until a window of one known document is judged."""
    number, places = lake.last_window() + 1, np.arange(1)
    documents = pa.table({"id": array_to_ids(ids_at(places)), "text": texts_at(places)})
    began = time.process_time()
    seen = Histories(lake, rules)
    reasons = seen.look(number, documents["id"].combine_chunks(), sketches_of(documents, rules))
    seconds = time.process_time() - began
    if reasons.to_pylist() != list(rules):
        raise ValueError(f"the first document of the lake is {reasons}")
    gc.collect()
    return seconds


def texts_at(places: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Array:
    """The texts that stand at places of the log: words of 16 digits."""
    numbers = places.astype(np.uint64) * np.uint64(WORDS)
    words = np.stack([mix64(numbers + np.uint64(k)) for k in range(WORDS)], axis=1).view(np.uint8)
    signs = np.full((len(places), WORDS, 17), ord(" "), np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    signs[:, :, :16] = digits[np.stack([words >> 4, words & 15], axis=2)].reshape(len(places), WORDS, 16)
    offsets = np.arange(len(places) + 1, dtype=np.int32) * (17 * WORDS)
    return pa.Array.from_buffers(pa.string(), len(places), [None, pa.py_buffer(offsets), pa.py_buffer(signs)])


def add_window(lake: Lake, number: int, size: int, *, texts: bool = False) -> None:
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
    columns |= {"text": texts_at(places)} if texts else {}
    rows = [columns.get(field.name, pa.nulls(size, field.type)) for field in DOCUMENT_SCHEMA]
    span = Span("p", number * size, size, 0, 1, 0.0)
    window = Window(number, {"made": [span]}, {"made": {"p": [number]}}, now, {"read": size, "kept": size}, 1.0)
    lake.plan_window(window)
    lake.commit_window(window, pa.table(rows, schema=DOCUMENT_SCHEMA))
