"""Lakes with sites: rows of which every column that a survey counts is chosen by the test."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from data_ops.documents.document import DOCUMENT_SCHEMA, document_id
from data_ops.lake.lake import Lake
from tests.support.lakes import add_window, make_lake

Row = Mapping[str, object]


def site_lake(folder: Path, windows: Sequence[Sequence[Row]]) -> Lake:
    """A lake with these windows; a row names what it wants of source, partition, external_id, event_time, fate, reason,
    num_bytes and text."""
    lake, first = make_lake(folder), 0
    for number, rows in enumerate(windows):
        add_window(lake, _documents(number, rows, first))
        first += len(rows)
    return lake


def _documents(window: int, rows: Sequence[Row], first: int) -> pa.Table:
    return pa.Table.from_pylist([_row(window, place, first, row) for place, row in enumerate(rows)], DOCUMENT_SCHEMA)


def _row(window: int, place: int, first: int, row: Row) -> dict[str, object]:
    fate = row.get("fate", "kept")
    text = str(row.get("text", f"text {first + place}"))
    lives = fate in ("kept", "held_out")
    return {
        "window": window,
        "position": place,
        "id": None if fate == "quarantined" else document_id(text),
        "source": row.get("source", "web"),
        "partition": row.get("partition", "in/a.jsonl"),
        "offset": first + place,
        "external_id": row.get("external_id"),
        "event_time": row.get("event_time", datetime(2024, 1, 1, tzinfo=UTC)),
        "arrived": datetime(2024, 1, 1, tzinfo=UTC),
        "weight": 1.0,
        "fate": fate,
        "reason": row.get("reason", None if lives else "too_short"),
        "num_bytes": row.get("num_bytes", len(text.encode())),
        "num_tokens": 3 if lives else 0,
        "text": text if lives or fate == "quarantined" else None,
        "tokens": [1, 2, 3] if lives else None,
    }
