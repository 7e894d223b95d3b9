"""What does one pass of ingest take in, and how is it written down?

A window is planned, then read, then committed: two rows of the lake's `windows` table, the same spans in both.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from data_ops.document import TIME
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
