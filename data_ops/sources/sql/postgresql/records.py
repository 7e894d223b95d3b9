"""How do rows of PostgreSQL, which come as Arrow, become records?

Whole columns at a time: no row becomes a Python object, but times that the database keeps as text or number, which are
understood as they are in files (times.py), and texts that are no UTF-8, which only a database without an encoding has.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.document import TIME, records, sample_of
from data_ops.sources.fields import NOT_UNDERSTOOD
from data_ops.sources.protocol import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from data_ops.sources.times import time_us


def record_batches(rows: pa.Table, longest: int, *, is_typed: bool) -> Iterator[pa.RecordBatch]:
    """Make RECORD_SCHEMA batches with offsets from 0 on.

    rows: text, size (bytes; null of no text), time, unclear, id. is_typed: the time is a timestamp, and `unclear` says
    where it is one that we cannot hold. A text longer than `longest` has come as its beginning.
    """
    at_once = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES * rows.num_rows // max(rows.nbytes, 1)))
    offset = 0
    for batch in rows.combine_chunks().to_batches(at_once):
        yield _records(batch, offset, longest, is_typed=is_typed)
        offset += batch.num_rows


def _records(batch: pa.RecordBatch, offset: int, longest: int, *, is_typed: bool) -> pa.RecordBatch:
    size = batch["size"]
    text, broken = _texts(batch["text"])
    error = pc.case_when(
        pc.make_struct(size.is_null(), pc.fill_null(pc.greater(size, longest), False), broken),
        *("missing_text", "oversized", "bad_utf8"),
        pa.scalar(None, pa.string()),
    )
    time, unclear = (batch["time"].cast(TIME), batch["unclear"]) if is_typed else _understood(batch["time"])
    return records(
        {
            "offset": pa.array(range(offset, offset + batch.num_rows), pa.int64()),
            "text": _with_samples(text, error),
            "event_time": time,
            "external_id": batch["id"],
            "num_bytes_read": pc.fill_null(size, 0),
            "error": error,
            "time_note": pc.if_else(unclear, NOT_UNDERSTOOD, pa.scalar(None, pa.string())),
        }
    )


def _texts(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return texts, and which of them are no UTF-8; of those the bytes are spelled out."""
    try:
        column.validate(full=True)
        return column, pa.array([False] * len(column))
    except pa.ArrowInvalid:
        raw = column.cast(pa.binary()).to_pylist()
    texts, broken = list[str | None](), list[bool]()
    for value in raw:
        try:
            texts.append(None if value is None else value.decode())
            broken.append(False)
        except UnicodeDecodeError:
            texts.append(value.decode("utf-8", "backslashreplace"))
            broken.append(True)
    return pa.array(texts, pa.string()), pa.array(broken)


def _with_samples(text: pa.Array, error: pa.Array) -> pa.Array:
    """Put samples in the place of texts that cannot be taken."""
    if error.null_count == len(error):
        return text
    samples = [sample_of(value or "") for value in text.filter(error.is_valid()).to_pylist()]
    return pc.replace_with_mask(text, error.is_valid(), pa.array(samples, pa.string()))


def _understood(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Understand times that are texts: the moments, and where one is there and not understood."""
    values = column.to_pylist()
    micros = [None if value is None else time_us(value) for value in values]
    unclear = [micro is None and value not in (None, "") for micro, value in zip(micros, values, strict=True)]
    return pa.array(micros, pa.int64()).cast(TIME), pa.array(unclear)
