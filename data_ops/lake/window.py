"""What does one pass of ingest take in, and how is it written down?

A window is planned, then read, then committed: two rows of the lake's `windows` table, the same spans in both.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from data_ops.documents.document import TIME
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
