"""What does a window cost beyond the work on its records?

1,000 small records a window, from file to lake through `ingest` on Ray; from each window's time the same reading,
curation and tokenising of the same spans in this process is taken off, done right after it. The first two windows warm
up. Parts: the Ray Data execution, and the commits of plan, documents and counts.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.corpus import lines, write
from benchmarks.data.ingest import bpe, process_span, settings_for
from benchmarks.rows import Goal, Row, paired
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from cluster.storage.store import Store
from data_ops.curation.history.id_history import IdHistory
from data_ops.documents.tokenizer import Tokenizer
from data_ops.ingest.context import IngestContext
from data_ops.ingest.pipeline import ingest
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake

RECORDS, WARM_UP, SENTENCES = 1000, 2, 2


class TimedLake(Lake):
    """A lake that notes how long its commits take."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.spent_s = 0.0

    def plan_window(self, window):
        """As in Lake."""
        began = time.perf_counter()
        done = super().plan_window(window)
        self.spent_s += time.perf_counter() - began
        return done

    def commit_window(self, window, documents):
        """As in Lake."""
        began = time.perf_counter()
        done = super().commit_window(window, documents)
        self.spent_s += time.perf_counter() - began
        return done


def measure(quick: bool) -> list[Row]:
    """Whole windows, the work in them, and what is left, by parts."""
    windows = (5 if quick else 20) + WARM_UP
    whole, work, execution, commits = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        made = list(lines(windows * RECORDS, SENTENCES, clean=True))
        write(Path(folder) / "corpus", made)
        settings, tokenizer_json = settings_for(Path(folder), RECORDS), bpe(made)
        tokenizer, seen = Tokenizer.from_json(tokenizer_json), IdHistory(SeenIds())
        lake = TimedLake(Store.open(f"{folder}/lake"))
        lake.create()
        clock = [0.0]

        def report(event: dict) -> None:
            whole.append(time.perf_counter() - clock[0])
            commits.append(lake.spent_s)
            execution.append(event["seconds"])
            assert event["read"] == RECORDS, event
            spans = lake.windows()[0][-1].spans["made"]
            began = time.perf_counter()
            for span in spans:
                process_span("made", span, settings, tokenizer, seen)
            work.append(time.perf_counter() - began)
            lake.spent_s, clock[0] = 0.0, time.perf_counter()

        with connect(ClusterConfig()):
            clock[0] = time.perf_counter()
            ingest(IngestContext(lake, settings, report=report), tokenizer_json)
    whole, work, execution, commits = (values[WARM_UP:] for values in (whole, work, execution, commits))
    return rows(whole, work, execution, commits)


def rows(whole: list[float], work: list[float], execution: list[float], commits: list[float]) -> list[Row]:
    """The lines of the table, from seconds of each window."""
    overhead = [a - b for a, b in zip(whole, work, strict=True)]
    ray_data = [a - b for a, b in zip(execution, work, strict=True)]
    listing = [a - b - c for a, b, c in zip(whole, execution, commits, strict=True)]
    return [
        Row(
            f"window of {RECORDS:,} records: overhead",
            "s",
            overhead,
            "the work itself, in one process",
            work,
            paired(whole, work),
            Goal(0.25, at_least=False, of_ratio=False),
            "Starting and draining a bounded Ray Data execution and three Delta commits take longer than that here.",
            "whole window less the work; the ratio is whole window to work. Local disk; a bucket is slower.",
        ),
        Row("· of it Ray Data: tasks, copies, scheduling", "s", ray_data),
        Row("· of it Delta: plan, documents, counts", "s", commits),
        Row("· of it listing files and reading the windows back", "s", listing),
    ]
