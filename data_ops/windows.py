"""What does one pass of ingest take in, and how is it written down?

A window is planned, then read, then committed: two rows of the lake's `windows` table, the same spans in both.
"""

import json
from dataclasses import asdict, dataclass, field
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
        # JSON; committed: {read, kept, held_out, quarantined, dropped}; planned: {owner, sources}, here and not in a
        # column of its own, so that a store of an older version needs no other table.
        pa.field("counts", pa.string(), nullable=False),
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
    as_configured: int | None = Field(
        None, ge=0, description="an open window to read with this configuration, though it was planned with another"
    )


@dataclass(frozen=True)
class IngestSettings:
    """Everything that decides what the documents of a store become."""

    sources: dict[str, SourceConfig]
    window: WindowConfig
    curate: CurateConfig
    seed: int
    held_out: Share
    owner: str = ""  # the run, or the lease of an ingest, that plans windows


@dataclass(frozen=True)
class Window:
    """What one pass of ingest took in, or is about to: one list of spans per source. Immutable once committed.

    owner, sources: who planned it, and how each source was configured then; "" and {} where an older version did.
    """

    window: int
    spans: dict[str, list[Span]]
    cursors: dict[str, dict[str, Any]]
    arrived: datetime
    counts: dict[str, Any] | None = None
    seconds: float = 0.0
    owner: str = ""
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """How many records its spans promise."""
        return sum(span.num_records for spans in self.spans.values() for span in spans)


def window_row(window: Window, event: str) -> pa.Table:
    """One row of the `windows` table; event: planned or committed."""
    plan = {"owner": window.owner, "sources": window.sources} if window.sources else {}
    row = {
        "window": window.window,
        "event": event,
        "spans": json.dumps({k: [asdict(s) for s in v] for k, v in window.spans.items()}),
        "cursors": json.dumps(window.cursors),
        "counts": json.dumps(plan if event == "planned" else window.counts or {}),
        "arrived": window.arrived,
        "seconds": window.seconds,
    }
    return pa.Table.from_pylist([row], schema=WINDOW_SCHEMA)


def read_window(row: dict[str, Any]) -> Window:
    """Read what `window_row` wrote."""
    spans = {k: [Span(**s) for s in v] for k, v in json.loads(row["spans"]).items()}
    told = json.loads(row["counts"])
    planned = row["event"] == "planned"
    return Window(
        window=row["window"],
        spans=spans,
        cursors=json.loads(row["cursors"]),
        arrived=row["arrived"],
        counts=None if planned else told or None,
        seconds=row["seconds"],
        owner=told.get("owner", "") if planned else "",
        sources=told.get("sources", {}) if planned else {},
    )
