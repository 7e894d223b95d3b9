"""Lakes for tests: made once a process, filled with windows whose rows follow from their place."""

import functools
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from cluster.storage.store import Store
from data_ops.documents.document import DOCUMENT_SCHEMA, document_id
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import SCHEMAS, properties
from data_ops.lake.window import Window
from data_ops.sources.protocol import Span

START = datetime(2024, 1, 1, tzinfo=UTC)


def made_once(make):
    """`make(folder, ...)` fills a lake; from now on it does so once a process, and others get a copy.

    A hundred tests begin with the same few commits, of 20 ms each. Whoever patches what a table is gets another.
    """

    @functools.cache
    def made(tables, *given):
        folder = tempfile.TemporaryDirectory()
        make(Path(folder.name), *given)
        return folder  # it goes with the process

    @functools.wraps(make)
    def copied(folder, *given):
        tables = repr({name: properties(name) for name in SCHEMAS})
        shutil.copytree(made(tables, *given).name, folder, dirs_exist_ok=True)
        return Lake(Store.open(str(folder)))

    return copied


@made_once
def make_lake(folder):
    """An empty lake."""
    lake = Lake(Store.open(str(folder)))
    lake.create()
    return lake


def make_documents(window, fates, first=0, *, source="mine", partition="p", position=0, days=0.0):
    """One row a fate; what a document is, is decided by its source, partition and offset."""
    rows = []
    for place, fate in enumerate(fates):
        offset = first + place
        text = f"{source}/{partition}/{offset}"
        lives = fate in ("kept", "held_out")
        num_tokens = 1 + offset % 13 if lives else 0
        rows.append(
            {
                "window": window,
                "position": position + place,
                "id": None if fate == "quarantined" else document_id(text),
                "source": source,
                "partition": partition,
                "offset": offset,
                "event_time": START + timedelta(days=days + offset),
                "arrived": START + timedelta(seconds=window),
                "weight": 1.0 + offset % 3,
                "fate": fate,
                "reason": None if lives else "too_short",
                "num_bytes": len(text),
                "num_tokens": num_tokens,
                "text": text if lives else None,
                "tokens": [(offset + i) % 250 for i in range(num_tokens)] if lives else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)


def window_of(documents):
    """The window that promises exactly these rows."""
    number = documents["window"][0].as_py()
    spans = {}
    offsets_of = {}
    for row in documents.to_pylist():
        offsets_of.setdefault((row["source"], row["partition"]), []).append(row["offset"])
    for (source, partition), offsets in offsets_of.items():
        span = Span(partition, min(offsets), len(offsets), min(offsets), max(offsets) + 1, 0.0)
        spans.setdefault(source, []).append(span)
    cursors = {source: {s.partition: [s.end] for s in each} for source, each in spans.items()}
    arrived = documents["arrived"][0].as_py()
    return Window(number, spans, cursors, arrived, {"read": documents.num_rows}, 0.5)


def add_window(lake, documents):
    """Plan and commit a window of these rows."""
    window = window_of(documents)
    lake.plan_window(window)
    return lake.commit_window(window, documents)


def fill_lake(lake, windows):
    """Commit one window per list of fates, offsets counting on."""
    first = 0
    for number, fates in enumerate(windows):
        add_window(lake, make_documents(number, fates, first))
        first += len(fates)
