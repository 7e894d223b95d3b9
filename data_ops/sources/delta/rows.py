"""Which records are in the rows of a file of a table?

They are read as those of any Parquet file (files/formats/parquet.py), row group by row group. What Delta keeps beside
the file is put in: other names of columns, and columns that have one value in all of its rows. Rows that were deleted
one by one, and those of the change data feed that tell how a row was before, become places without a document.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from data_ops.conversations.fields import ConversationFields
from data_ops.documents.document import TIME, records
from data_ops.sources.delta.actions import DataFile
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.log import kept_rows
from data_ops.sources.delta.reached import FileMark
from data_ops.sources.fields import NOT_UNDERSTOOD, Fields
from data_ops.sources.files.formats.parquet import read_parquet
from data_ops.sources.files.formats.unpack import Limits
from data_ops.sources.protocol import Span
from data_ops.sources.times import time_us

#: What the change data feed says of a row that is as it is now.
BROUGHT = ("insert", "update_postimage")


def within_file(span: Span) -> Span:
    """Return the same piece as one of a file by itself."""
    path = f"{span.partition.rstrip('/')}/{FileMark.of(span).file.path}"
    return Span(path, span.first_record, span.num_records, span.start, span.end, span.modified_s)


def read_rows(span: Span, config: DeltaConfig) -> Iterator[pa.RecordBatch]:
    """Read rows [start, end) of a file as records. FileNotFoundError where it, or what belongs to it, has gone."""
    mark, piece, limits = FileMark.of(span), within_file(span), Limits(config.max_record_bytes)
    time, name = mark.stored_name(config.time), mark.stored_name(config.id)
    time_value, name_value = (mark.file.partition.get(each or "") for each in (time, name))
    fields = Fields(
        mark.stored.get(config.text, config.text), None if time_value else time, None if name_value else name
    )
    there, first = _there(span, mark.file, piece, limits), 0
    for batch in read_parquet(piece, fields, limits, _stored_conversation(config, mark)):
        batch = _with_partition(batch, time_value, name_value)
        if there is not None:
            batch = _without_others(batch, there[first : first + len(batch)])
            first += len(batch)
        yield batch


def _stored_conversation(config: DeltaConfig, mark: FileMark) -> ConversationFields | None:
    if config.conversations is None:
        return None
    return ConversationFields(*(mark.stored.get(name, name) for name in config.conversations))


def _there(span: Span, file: DataFile, piece: Span, limits: Limits) -> pa.BooleanArray | None:
    """Tell which rows of a piece are of the table; None where all are."""
    if file.masked is not None:
        kept = kept_rows(span.partition, file.masked).get(file.path, pa.array([], pa.bool_()))[span.start : span.end]
        return pa.concat_arrays([kept, pa.array([True] * (span.num_records - len(kept)), pa.bool_())])
    if file.is_change and span.end:
        batches = read_parquet(piece, Fields("_change_type"), limits)
        return pa.concat_arrays([pc.is_in(batch["text"], pa.array(BROUGHT)) for batch in batches])
    return None


def _without_others(batch: pa.RecordBatch, there: pa.BooleanArray) -> pa.RecordBatch:
    """Put a place without a document where a row is not of the table; what cannot be read is told all the same."""
    keep = pc.or_(there, batch["error"].is_valid())
    rows = {name: batch[name] for name in batch.schema.names}
    rows["text"] = pc.if_else(keep, batch["text"], "")
    rows["error"] = pc.if_else(keep, batch["error"], "no_record")
    rows["num_bytes_read"] = pc.if_else(keep, batch["num_bytes_read"], 0)
    for name in ("event_time", "external_id", "time_note"):
        rows[name] = pc.if_else(keep, batch[name], pa.scalar(None, batch[name].type))
    return records(rows)


def _with_partition(batch: pa.RecordBatch, time_value: str | None, name_value: str | None) -> pa.RecordBatch:
    """Put the time and the id in where they are columns of the partition."""
    if time_value is None and name_value is None:
        return batch
    count, rows = len(batch), {name: batch[name] for name in batch.schema.names}
    if name_value is not None:
        rows["external_id"] = pa.array([name_value] * count, pa.string())
    if time_value is not None:
        time = time_us(time_value)
        rows["event_time"] = pa.array([time] * count, pa.int64()).cast(TIME)
        rows["time_note"] = pa.array([NOT_UNDERSTOOD if time is None else None] * count, pa.string())
    return records(rows)
