"""What stands in for the records of a planned span that cannot be read any more?

One quarantined row a place, so that every record that was planned has exactly one row. As that is for ever, it takes
two who agree: what a task could not read is tried once more where windows are planned (`confirm`), for a task may run
on a node that lacks a mount. The price is a second look at what is quarantined so, which is rare.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage.retry import is_transient
from data_ops.documents.document import records, sample_of
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import ChangedError, Source, SourceConfig, Span

NOT_AS_PLANNED = pa.array(["changed_before_read", "unreadable"])  # what a task says of a span, not of a record


def confirm(rows: pa.Table, pieces: Sequence[tuple[str, Span]], configs: dict[str, SourceConfig]) -> None:
    """Raise OSError, naming file and node, if a span that a task could not read as planned can be read so here.

    rows: with `reason`, `text`, the number of their piece in `span`, and the `node` that read them.
    """
    failed = rows.filter(pc.is_in(rows["reason"], NOT_AS_PLANNED))
    for number in pc.unique(failed["span"]).to_pylist():
        (label, span), row = pieces[number], failed.filter(pc.equal(failed["span"], number)).slice(0, 1).to_pylist()[0]
        again = read_span(open_source(label, configs[label]), span)
        if not any(pc.any(pc.is_in(batch["error"], NOT_AS_PLANNED)).as_py() for batch in again):
            raise OSError(
                f"{span.partition} could not be read as planned on node {row['node']} ({row['text']}), but can be "
                f"on node {socket.gethostname()}, where windows are planned; make it readable on every node and start "
                "again"
            )


def read_span(source: Source | None, span: Span) -> Iterator[pa.RecordBatch]:
    """Read exactly the places of a span; what its file, or its reader, does not give is quarantined, place by place.

    Raises only what may pass: a network that fails, memory that is short now.
    """
    read = 0
    try:
        if source is None:
            yield _quarantined(span, 0, "its source is not in the configuration", "source_removed")
            return
        for batch in source.read(span):
            planned = batch.slice(0, span.num_records - read)
            read += planned.num_rows
            yield planned
        if read < span.num_records:
            raise ChangedError(f"{span.partition} gives {read} records where {span.num_records} were planned")
    except (ChangedError, FileNotFoundError) as error:
        yield _quarantined(span, read, str(error), "changed_before_read")
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:  # what may pass is raised
        yield _quarantined(span, read, str(error), "unreadable")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever data do to their reader: it must not stop a store
        if source is None or is_transient(error):
            raise
        yield from _without_killers(source, span, read, error)


def _without_killers(source: Source, span: Span, read: int, error: Exception) -> Iterator[pa.RecordBatch]:
    """Halve what is left of a span until the record that kills its reader stands alone, and quarantine that one.

    Only where a source seeks by records can a span be halved; else all that is left of it is quarantined.
    """
    left = span.num_records - read
    if left == 1 or span.end - span.start != span.num_records:
        yield _quarantined(span, read, f"{type(error).__name__}: {error}", "kills_reader")
        return
    half = left // 2
    for first, count in ((read, half), (read + half, left - half)):
        yield from read_span(
            source,
            replace(
                span,
                first_record=span.first_record + first,
                num_records=count,
                start=span.start + first,
                end=span.start + first + count,
            ),
        )


def _quarantined(span: Span, read: int, why: str, reason: str) -> pa.RecordBatch:
    """Stand in for the records of a span behind the first `read`, one row a place."""
    missing = span.num_records - read
    return records(
        {
            "offset": np.arange(span.first_record + read, span.first_record + span.num_records),
            "text": [sample_of(why)] * missing,
            "num_bytes_read": np.zeros(missing, np.int64),
            "error": [reason] * missing,
        }
    )
