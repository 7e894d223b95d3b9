"""How is a Parquet file from a stranger read?

Its footer is taken into memory and the name of the embedded Arrow schema is blotted out before Arrow sees it,
so a column is only ever its plain storage type: no extension type is looked up, none of their code can run.
Only the columns asked for are read, in small batches. The price: a Python object between Arrow and the bytes.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_ops.documents.document import TIME
from data_ops.sources.fields import Rows, name_of, time_us
from data_ops.sources.files.lines import Fields
from data_ops.sources.files.listing import open_partition, read_at
from data_ops.sources.protocol import Span

ARROW_SCHEMA = b"ARROW:schema"
MAX_FOOTER_BYTES = 256 << 20
MAX_ROWS_PER_BYTE = 64  # what a footer may claim; run lengths compress well, but not that well
BATCH_ROWS = 256


class BadParquetError(ValueError):
    """A Parquet file, or rows of it, that cannot be read."""


def count_rows(partition: str) -> int:
    """Read how many rows a Parquet file has. BadParquetError if it is none, OSError if its bytes cannot be had."""
    with _opened(partition) as (file, _):
        return int(file.metadata.num_rows)


def size_of_rows(span: Span, field: str) -> int:
    """Tell about how many bytes a column takes, unpacked, in the span's rows; 0 where its footer cannot be read."""
    size, first = 0.0, 0
    try:
        with _opened(span.partition) as (file, _):
            for group in (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)):
                inside = min(span.end, first + group.num_rows) - max(span.start, first)
                columns = [group.column(n) for n in range(group.num_columns)]
                bytes_ = sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] == field)
                size += bytes_ * max(inside, 0) / max(group.num_rows, 1)
                first += group.num_rows
    except (BadParquetError, FileNotFoundError):
        return 0
    return round(size)


def read_parquet(span: Span, fields: Fields, limit: int) -> Iterator[pa.RecordBatch]:
    """Read rows [start, end); what cannot be read is quarantined. An unreadable file is the span [0, 0).

    OSError if the file's bytes cannot be had, as from a network that fails: that says nothing about its rows.
    """
    rows = Rows(span.first_record)
    done = 0
    if span.end > 0:
        try:
            for batch in _batches(span, fields):
                for record in _records(batch, fields):
                    _add(rows, *record, limit)
                    done += 1
                    if rows.full:
                        yield rows.take()
        except BadParquetError:
            pass  # the rest of the span is counted below
    for _ in range(done, span.num_records):
        rows.quarantine("bad_parquet", "", 0)
        if rows.full:
            yield rows.take()
    if rows.texts:
        yield rows.take()


def _add(rows: Rows, text: Any, time: int | None, name: str | None, limit: int) -> None:
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            rows.quarantine("bad_utf8", text, len(text))
            return
    if not isinstance(text, str):
        rows.quarantine("missing_text" if text is None else "wrong_type", repr(text)[:200], 0)
        return
    size = len(text.encode())
    if size > limit:
        rows.quarantine("oversized", text, size)
    else:
        rows.add(text, time, name, size)


def _batches(span: Span, fields: Fields) -> Iterator[pa.RecordBatch]:
    """Yield exactly the span's rows, reading only the row groups that hold some of them."""
    with _opened(span.partition) as (file, plain):
        columns = [name for name in dict.fromkeys(fields) if name and name in file.schema_arrow.names]
        first = 0
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if first < span.end and first + size > span.start:
                part = max(span.start - first, 0), min(span.end - first, size)
                yield from _group(file, plain, group, columns, *part)
            first += size


def _group(
    file: pq.ParquetFile, plain: "_PlainFile", group: int, columns: list[str], start: int, end: int
) -> Iterator[pa.RecordBatch]:
    position = 0
    batches = file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False)
    while position < end:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowException, OSError, ValueError) as error:
            bad = BadParquetError(f"row group {group} cannot be read ({error}); write the file again")
            raise plain.failed or bad from error
        begin, stop = max(start - position, 0), min(end - position, len(batch))
        if begin < stop:
            yield batch.slice(begin, stop - begin)
        position += max(len(batch), 1)


def _records(batch: pa.RecordBatch, fields: Fields) -> Iterator[tuple[Any, int | None, str | None]]:
    text, time, name = (_values(batch, field) for field in fields)
    return zip(text, map(time_us, time), map(name_of, name), strict=True)


def _values(batch: pa.RecordBatch, field: str | None) -> list[Any]:
    """Turn a column into Python values; timestamps become microseconds so that no precision is in the way."""
    if field is None or field not in batch.schema.names:
        return [None] * len(batch)
    column = batch.column(field)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        zone = TIME if getattr(column.type, "tz", None) else pa.timestamp("us")
        try:
            micros = pc.cast(column, zone, safe=False).cast(pa.int64())
        except pa.ArrowInvalid:
            return [None] * len(batch)
        return [None if value is None else value for value in micros.to_pylist()]
    return list(column.to_pylist())


@contextmanager
def _opened(partition: str) -> Iterator[tuple[pq.ParquetFile, "_PlainFile"]]:
    filesystem, path = open_partition(partition)
    plain = _PlainFile(filesystem.open_input_file(path))
    try:
        plain.read_footer()
        guarded = pa.PythonFile(plain, mode="r")
        parquet = pq.ParquetFile(guarded, pre_buffer=False, buffer_size=1 << 20, arrow_extensions_enabled=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        bad = BadParquetError(f"{partition!r} is not readable Parquet ({error}); write the file again")
        raise plain.failed or bad from error
    with parquet:
        if not 0 <= parquet.metadata.num_rows <= MAX_ROWS_PER_BYTE * plain.size:
            raise BadParquetError(f"{partition!r} claims {parquet.metadata.num_rows} rows in {plain.size} bytes")
        yield parquet, plain


class _PlainFile(io.RawIOBase):
    """A Parquet file whose footer comes from memory, without its Arrow schema.

    `failed` is why its bytes could not be had: Arrow raises OSError for that, and for bytes that make no sense, alike.
    """

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self.size: int = file.size()
        self.failed: OSError | None = None
        self._position = 0

    def read_footer(self) -> None:
        """Take the footer into memory; ValueError if there is none."""
        tail = self._at(max(self.size - 8, 0), 8)
        length = struct.unpack("<I", tail[:4])[0] if tail[4:] == b"PAR1" else 0
        if not 0 < length <= min(MAX_FOOTER_BYTES, self.size - 8):
            raise ValueError(f"its last bytes are {tail!r}, no Parquet footer")
        self._footer_start = self.size - 8 - length
        footer = self._at(self._footer_start, length)
        self._footer = footer.replace(ARROW_SCHEMA, b"-" * len(ARROW_SCHEMA)) + tail

    def _at(self, start: int, size: int) -> bytes:
        try:
            return read_at(self._file, start, size)
        except OSError as error:
            self.failed = error
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        end = self.size if size < 0 else min(start + size, self.size)
        data = self._at(start, min(end, self._footer_start) - start) if start < self._footer_start else b""
        if end > self._footer_start:
            data += self._footer[max(start - self._footer_start, 0) : end - self._footer_start]
        self._position = start + len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
