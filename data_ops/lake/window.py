"""What does one pass of ingest take in, and how is it written down?

A window is planned, then read, then committed: two rows of the lake's `windows` table, the same spans in both.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import NotRequired, TypedDict

import msgspec
import pyarrow as pa
from pydantic import JsonValue

from cluster.storage.seal import DamagedError, seal, unseal
from data_ops.documents.document import TIME
from data_ops.lake.digest import WindowDigest
from data_ops.sources.protocol import Cursor, Span

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

BASE_COLUMNS = ["window", "event", "counts", "arrived", "seconds"]  # what the seal of counts is about
EVENTS = ("planned", "committed", "erased")
MEND = "restore the file from a copy, or start a new store"


class Counts(msgspec.Struct):
    """Of a row's counts: what is said of its documents."""

    documents: WindowDigest | None = None


class LoggedRow(TypedDict):
    """One row of `windows`; spans and cursors where they were read."""

    window: int
    event: str
    spans: NotRequired[str]
    cursors: NotRequired[str]
    counts: str
    arrived: datetime
    seconds: float


@dataclass(frozen=True)
class Window:
    """What one pass of ingest took in, or is about to: one list of spans per source. Immutable once committed.

    owner, sources: who planned it, and how each source was configured then; "" and {} where an older version did.
    documents: digest of the rows that were committed; None where an older version did.
    """

    window: int
    spans: dict[str, list[Span]]
    cursors: dict[str, Cursor]
    arrived: datetime
    counts: dict[str, int | dict[str, int]] | None = None
    seconds: float = 0.0
    owner: str = ""
    sources: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    documents: WindowDigest | None = field(default=None, compare=False)

    @property
    def num_records(self) -> int:
        """How many records its spans promise."""
        return sum(span.num_records for spans in self.spans.values() for span in spans)


def window_row(window: Window, event: str) -> pa.Table:
    """One row of the `windows` table; event: planned, committed, or erased (the digest once documents were forgotten).

    Its JSON is sealed: spans and cursors each for itself, counts together with the rest of the row.
    """
    counts: dict[str, object] = {"owner": window.owner, "sources": window.sources} if window.sources else {}
    if event != "planned":
        counts = {**(window.counts or {})}
    if window.documents is not None:
        counts = {**counts, "documents": msgspec.to_builtins(window.documents)}
    number, arrived = window.window, pa.scalar(window.arrived, TIME).value
    row = {
        "window": number,
        "event": event,
        "spans": seal(json.dumps({k: [asdict(s) for s in v] for k, v in window.spans.items()}), number),
        "cursors": seal(json.dumps(window.cursors), number),
        "counts": seal(json.dumps(counts), number, event, arrived, window.seconds),
        "arrived": window.arrived,
        "seconds": window.seconds,
    }
    return pa.Table.from_pylist([row], schema=WINDOW_SCHEMA)


def unsealed(rows: pa.Table, where: str) -> list[LoggedRow]:
    """The rows of `windows` that were read, at least BASE_COLUMNS of them, with their JSON as it was before sealing.

    Raises DamagedError where a row is not what was written.
    """
    try:
        found: list[LoggedRow] = rows.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is no UTF-8, a time beyond the year 9999
        raise DamagedError(f"{where} is damaged: {error}; {MEND}") from error
    arrived = rows["arrived"].cast(pa.int64()).to_pylist()
    for row, time_us in zip(found, arrived, strict=True):
        number, event = row["window"], row["event"]
        what = f"window {number} in {where}"
        if event not in EVENTS:
            raise DamagedError(f"{what} is damaged: its event {event!r} is none of {', '.join(EVENTS)}; {MEND}")
        if "spans" in row:
            row["spans"] = unseal(row["spans"], f"spans of {what}", number)
        if "cursors" in row:
            row["cursors"] = unseal(row["cursors"], f"cursors of {what}", number)
        row["counts"] = unseal(row["counts"], f"counts of {what}", number, event, time_us, row["seconds"])
    return found


def read_digest(row: LoggedRow) -> WindowDigest | None:
    """The digest of a window's documents; None of an older version."""
    return msgspec.json.decode(row["counts"], type=Counts).documents


def read_window(row: LoggedRow) -> Window:
    """Read what `window_row` wrote, unsealed."""
    spans = {k: [Span(**s) for s in v] for k, v in json.loads(row["spans"]).items()}
    told = json.loads(row["counts"])
    told.pop("documents", None)
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
        documents=read_digest(row),
    )
