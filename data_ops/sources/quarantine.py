"""What stands in for the records of a planned span that cannot be read any more?

One quarantined row a place, so that every record that was planned has exactly one row. As that is for ever, it takes
two who agree: what a task could not read is tried once more where windows are planned (`confirm`), for a task may run
on a node that lacks a mount. The price is a second look at what is quarantined so, which is rare.
"""

import socket
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
    """Read a span; if its file changed or went since it was planned, what is missing is quarantined, place by place."""
    read = 0
    try:
        if source is None:
            yield _quarantined(span, 0, "its source is not in the configuration", "source_removed")
        for batch in source.read(span) if source else ():
            read += batch.num_rows
            yield batch
    except (ChangedError, FileNotFoundError) as error:
        yield _quarantined(span, read, str(error), "changed_before_read")
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:  # what may pass is raised
        yield _quarantined(span, read, str(error), "unreadable")


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
