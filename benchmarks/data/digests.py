"""What do the digests of a window's documents cost ingest?

The same windows, read, curated, tokenised and committed in one process, with and without the digest, in turns: each
window goes into two lakes. CPU seconds of the process are compared, for a busy machine tells them apart best. Plain
bytes as tokens are the worst case, since nothing is cheaper to make; with BPE the tokeniser hides the rest.
"""

import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.corpus import lines, write
from benchmarks.data.ingest import bpe, settings_for
from benchmarks.rows import Goal, Row, paired
from cluster.storage.store import Store
from data_ops.curation.history.id_history import IdHistory
from data_ops.documents.fates import count, drop_living, living
from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer
from data_ops.ingest import pipeline
from data_ops.ingest.config import IngestSettings
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA
from data_ops.lake.window import Window, window_row
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Span
from ray_jobs.ingest.first_tokenizer import curated

SENTENCES, NUM_FILES = 6, 4


class WithoutDigests(Lake):
    """A lake that commits as every version before digests did."""

    def commit_window(self, window: Window, documents: pa.Table) -> bool:
        self._append("documents", "documents", window.window, documents.cast(STORED_DOCUMENT_SCHEMA))
        return self._append("windows", "committed", window.window, window_row(window, "committed"))


def measure(quick: bool) -> list[Row]:
    """Megabytes a CPU second with and without digests, window by window in turns."""
    num_records, windows, repeats = (4_000, 4, 2) if quick else (100_000, 10, 5)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        made = list(lines(num_records, SENTENCES))
        write(Path(folder) / "corpus", made, NUM_FILES)
        settings = settings_for(Path(folder), num_records // windows)
        megabytes = sum(len(line.raw) + 1 for line in made) / 1e6
        found = []
        for name, tokenizer in (("bytes", byte_tokenizer()), ("BPE", Tokenizer.from_json(bpe(made)))):
            runs = [one(Path(folder) / f"{name}-{n}", settings, tokenizer) for n in range(repeats + 1)][1:]
            speeds = [[megabytes / run[place] for run in runs] for place in (1, 0)]
            what = f"ingest of {num_records:,} JSON lines without Ray, tokens: {name}"
            goal = Goal(0.97)
            ratios = paired(speeds[0], speeds[1])
            found.append(Row(what, "MB per CPU second", speeds[0], "without digests", speeds[1], ratios, goal))
    return found


def one(folder: Path, settings: IngestSettings, tokenizer: Tokenizer) -> tuple[float, float]:
    """CPU seconds of all windows without digests, and with them."""
    lakes = [make(Store.open(f"{folder}-{make.__name__}")) for make in (WithoutDigests, Lake)]
    seen, seconds = [IdHistory(SeenIds()), IdHistory(SeenIds())], [0.0, 0.0]
    for lake in lakes:
        lake.create()
    label, config = next(iter(settings.sources.items()))
    cursor, number = {}, 0
    while (found := open_source(label, config).discover(cursor, settings.window.max_documents)).spans:
        window = Window(number, {label: found.spans}, {}, datetime.now(UTC))
        for place in (0, 1) if number % 2 else (1, 0):
            began = time.process_time()
            tables = [rows_of(label, span, settings, tokenizer, seen[place]) for span in found.spans]
            rows = pipeline._place(pa.concat_tables(tables), number)
            lakes[place].commit_window(replace(window, counts=count(rows)), rows)
            seconds[place] += time.process_time() - began
        cursor, number = found.cursor, number + 1
    return seconds[0], seconds[1]


def rows_of(label: str, span: Span, settings: IngestSettings, tokenizer: Tokenizer, seen: IdHistory) -> pa.Table:
    """What a task of the pipeline makes of a span."""
    tables = []
    for table in curated(open_source(label, settings.sources[label]), label, span, settings):
        new = seen.add(table.filter(pa.array(living(table))))
        table = drop_living(table, pa.array(np.where(new, None, "duplicate"), pa.string()))
        tables.append(table.append_column("tokens", pipeline._tokens(table, living(table), tokenizer)))
    return pa.concat_tables(tables)
