"""Which records are in the rows of a Parquet file?

Only the columns asked for are read (columns.py), text as a dictionary and in small slices, so that a page of 1 kB that
says one long value a million times costs what is taken of it. A cell that fails costs its row, never the file.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.files.formats.cells import add_cells
from data_ops.sources.files.formats.columns import take_column, text_bytes
from data_ops.sources.files.formats.parquet_file import BadParquetError, Group, ParquetFile, opened
from data_ops.sources.files.formats.unpack import FREE_BYTES, Limits
from data_ops.sources.protocol import MAX_BATCH_BYTES, MAX_BATCH_ROWS, Span

BATCH_ROWS = 1024
SPELLED_BYTES = 64 << 20  # rows read without a dictionary at once, were each as long as its row group
REPEATS = 16  # how often a dictionary may say each of its bytes, whatever its row group was packed to


def count_rows(partition: str) -> int:
    """Read how many rows a Parquet file has. BadParquetError if it is none, OSError if its bytes cannot be had."""
    with opened(partition, Fields("")) as file:
        return int(file.reader.metadata.num_rows)


@functools.lru_cache(maxsize=256)
def row_groups(partition: str, fields: Fields, modified_s: float) -> tuple[Group, ...]:
    """Read from the footer what each row group holds; `modified_s` tells one version of the file from another."""
    with opened(partition, fields) as file:
        return tuple(file.group(number) for number in range(file.reader.metadata.num_row_groups))


def bytes_of(span: Span, fields: Fields) -> int:
    """Estimate how many bytes the rows of a span unpack to; 0 for a file that is not readable."""
    try:
        groups = row_groups(span.partition, fields, span.modified_s)
    except (BadParquetError, FileNotFoundError):
        return 0
    total, first = 0, 0
    for group in groups:
        rows = min(span.end, first + group.num_rows) - max(span.start, first)
        total += -(-group.num_bytes * max(rows, 0) // max(group.num_rows, 1))
        first += group.num_rows
    return total


def columns_of(partition: str) -> tuple[str, ...]:
    """Name the columns of a Parquet file, nested ones as paths. BadParquetError if it is none."""
    with opened(partition, Fields("")) as file:
        return file.columns.names


def read_parquet(
    span: Span, fields: Fields, limits: Limits, conversation: ConversationFields | None = None
) -> Iterator[pa.RecordBatch]:
    """Read rows [start, end); what cannot be read is quarantined. An unreadable file is the span [0, 0).

    OSError if the file's bytes cannot be had, as from a network that fails: that says nothing about its rows.
    """
    rows = RecordRows(span.first_record)
    reason, sample = "bad_parquet", ""
    try:
        with opened(span.partition, fields, conversation) as file:
            if conversation is None and file.columns.text is None and fields.text in file.columns.twice:
                reason, sample = "duplicate_column", f"several columns are called {fields.text}"
            elif span.end > 0:
                for part in _parts(file, span):
                    yield from _read_part(rows, file, part, limits)
    except BadParquetError as error:
        sample = str(error)
    yield from _refuse(rows, span.first_record + span.num_records, reason, sample)
    if rows.texts:
        yield rows.take()


class _Part(NamedTuple):
    """Rows [start, end) of a row group."""

    number: int
    start: int
    end: int


def _parts(file: ParquetFile, span: Span) -> Iterator[_Part]:
    """Cut a span where row groups begin."""
    first = 0
    for number in range(file.reader.metadata.num_row_groups):
        num_rows = file.group(number).num_rows
        if first < span.end and first + num_rows > span.start:
            yield _Part(number, max(span.start - first, 0), min(span.end - first, num_rows))
        first += num_rows


def _read_part(rows: RecordRows, file: ParquetFile, part: _Part, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Read rows of one row group; damage, or a limit, costs what is left of it and nothing of the other groups."""
    last = rows.next_record + len(rows.texts) + part.end - part.start
    reason, sample = "bad_parquet", "the row group holds fewer rows than the footer says"
    try:
        for batch in _rows(file, part):
            for piece in _within(file, part.number, batch, limits):
                while len(piece):
                    room = MAX_BATCH_ROWS - len(rows.texts)
                    add_cells(rows, file.columns, piece.slice(0, room), limits)
                    piece = piece.slice(room)
                    if rows.full:
                        yield rows.take()
    except BadParquetError as error:
        reason, sample = "bad_parquet", str(error)
    except _OverLimitError as error:
        reason, sample = "over_limit", str(error)
    yield from _refuse(rows, last, reason, sample)


def _refuse(rows: RecordRows, last: int, reason: str, sample: str) -> Iterator[pa.RecordBatch]:
    """Quarantine the places up to `last`."""
    while rows.next_record + len(rows.texts) < last:
        rows.quarantine(reason, sample, 0)
        if rows.full:
            yield rows.take()


class _OverLimitError(ValueError):
    """Rows that would take more than a setting allows."""


def _rows(file: ParquetFile, part: _Part) -> Iterator[pa.RecordBatch]:
    """Yield exactly these rows, in small batches: where a dictionary may repeat them, its values come once."""
    number, start, end = part
    if not file.columns.leaves:
        yield pa.RecordBatch.from_struct_array(pa.array([{}] * (end - start), pa.struct([])))
        return
    group, position = file.group(number), 0
    at_once = max(1, min(BATCH_ROWS, MAX_BATCH_BYTES * group.num_rows // max(group.num_bytes, 1)))
    batches = _batches(file.reader, number, at_once, file.columns.leaves)
    while position < end:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError) as error:
            if "DictAccumulator" in str(error):
                batches, position = _spelled_out(file, number, position), position
                continue
            bad = BadParquetError(f"row group {number} cannot be read ({error}); write the file again")
            raise file.plain.failed or bad from error
        begin, stop = max(start - position, 0), min(end - position, len(batch))
        if begin < stop:
            yield batch.slice(begin, stop - begin)
        position += max(len(batch), 1)


def _batches(reader: pq.ParquetReader, number: int, at_once: int, leaves: list[int]) -> Iterator[pa.RecordBatch]:
    batches: Iterator[pa.RecordBatch] = reader.iter_batches(at_once, [number], column_indices=leaves, use_threads=False)
    return batches


def _spelled_out(file: ParquetFile, number: int, passed: int) -> Iterator[pa.RecordBatch]:
    """Read a row group without dictionaries behind its first `passed` rows, few at once: a row is no longer than it."""
    at_once = max(1, min(BATCH_ROWS, SPELLED_BYTES // max(file.group(number).num_bytes, 1)))
    for batch in _batches(file.spelled_out, number, at_once, file.columns.leaves):
        if passed < len(batch):
            yield batch.slice(passed)
        passed = max(passed - len(batch), 0)


def _within(file: ParquetFile, number: int, batch: pa.RecordBatch, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that its cells, which a dictionary may repeat, fit into memory; _OverLimitError beyond it."""
    lengths = sum(text_bytes(take_column(batch, file.columns, column)) for column in file.columns.read)
    ends = np.cumsum(np.broadcast_to(lengths, len(batch)).astype(np.int64))
    group = file.group(number)
    most = max(FREE_BYTES, REPEATS * group.num_bytes, limits.ratio * group.stored_bytes)
    room = most - file.unpacked.get(number, 0)
    allowed = int(np.searchsorted(ends, room, side="right"))
    start = 0
    while start < allowed:
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends[:allowed], before + MAX_BATCH_BYTES, side="right")))
        yield batch.slice(start, stop - start)
        start = stop
    file.unpacked[number] = most - room + int(ends[-1] if len(ends) else 0)
    if allowed < len(batch):
        raise _OverLimitError(_beyond(number, most, limits))


def _beyond(group: int, num_bytes: int, limits: Limits) -> str:
    return (
        f"row group {group} unpacks to {num_bytes} bytes or more, over max_ratio={limits.ratio} times its size; raise "
        "max_ratio of the source if the file can be trusted"
    )
