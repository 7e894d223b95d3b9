"""What does one pass of ingest take in, and how is it written down?

A window is planned, then read, then committed: two rows of the lake's `windows` table, the same spans in both.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pydantic import Field

from cluster.units import Duration, Settings, Share, Size
from data_ops.curate import CurateConfig
from data_ops.document import TIME
from data_ops.sources import SourceConfig
from data_ops.sources.protocol import Span

WINDOW_SCHEMA = pa.schema(
    [
        pa.field("window", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),  # planned | committed
        pa.field("spans", pa.string(), nullable=False),  # JSON {source: [span, ...]}
        pa.field("cursors", pa.string(), nullable=False),  # JSON {source: {partition: state}}, changed ones only
        pa.field("counts", pa.string(), nullable=False),  # JSON {read, kept, held_out, quarantined, dropped}
        pa.field("arrived", TIME, nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)


class WindowConfig(Settings):
    """How much one pass of ingest takes in."""

    max_documents: int = Field(10_000, ge=1, le=1_000_000, description="records a window holds at most")
    # From 1 MiB on: a source that counts rows instead of bytes (Parquet) then never reaches it.
    max_bytes: Size = Field(256 << 20, ge=1 << 20, description="bytes of files a window holds at most")
    max_seconds: Duration = Field(5.0, gt=0, description="longest a record waits for its window under --follow")


@dataclass(frozen=True)
class IngestSettings:
    """Everything that decides what the documents of a store become."""

    sources: dict[str, SourceConfig]
    window: WindowConfig
    curate: CurateConfig
    seed: int
    held_out: Share


@dataclass(frozen=True)
class Window:
    """What one pass of ingest took in, or is about to: one list of spans per source. Immutable once committed."""

    window: int
    spans: dict[str, list[Span]]
    cursors: dict[str, dict[str, Any]]
    arrived: datetime
    counts: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def num_records(self) -> int:
        """How many records its spans promise."""
        return sum(span.num_records for spans in self.spans.values() for span in spans)


def window_row(window: Window, event: str) -> pa.Table:
    """One row of the `windows` table; event: planned or committed."""
    row = {
        "window": window.window,
        "event": event,
        "spans": json.dumps({k: [asdict(s) for s in v] for k, v in window.spans.items()}),
        "cursors": json.dumps(window.cursors),
        "counts": json.dumps(window.counts or {}),
        "arrived": window.arrived,
        "seconds": window.seconds,
    }
    return pa.Table.from_pylist([row], schema=WINDOW_SCHEMA)


def read_window(row: dict[str, Any]) -> Window:
    """Read what `window_row` wrote."""
    spans = {k: [Span(**s) for s in v] for k, v in json.loads(row["spans"]).items()}
    return Window(
        window=row["window"],
        spans=spans,
        cursors=json.loads(row["cursors"]),
        arrived=row["arrived"],
        counts=json.loads(row["counts"]) or None,
        seconds=row["seconds"],
    )
