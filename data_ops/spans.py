"""What stands in for the records of a planned span that cannot be read any more?

One quarantined row a place, so that every record that was planned has exactly one row.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_ops.document import records, sample_of
from data_ops.sources.lines import ChangedError
from data_ops.sources.protocol import Source, Span


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
    except OSError as error:  # pyarrow names a folder by a bare OSError; what may pass, like a network, is raised
        named = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError)
        if not named and not Path(span.partition).is_dir():
            raise
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
