"""How is a Parquet file from a stranger opened?

Its footer is taken into memory and the name of the embedded Arrow schema is blotted out before Arrow sees it,
so a column is only ever its plain storage type: no extension type is looked up, none of their code can run.
The price: a Python object between Arrow and the bytes.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.fields import Fields
from data_ops.sources.files.formats.columns import locate
from data_ops.sources.files.listing import open_partition, read_at

ARROW_SCHEMA = b"ARROW:schema"
MAX_FOOTER_BYTES = 256 << 20
MAX_ROWS_PER_BYTE = 64  # what a footer may claim; run lengths compress well, but not that well


class BadParquetError(ValueError):
    """A Parquet file, or rows of it, that cannot be read."""


class Group(NamedTuple):
    """What the footer says of a row group: its rows and their bytes, unpacked; and the bytes of the file as stored."""

    num_rows: int
    num_bytes: int
    stored_bytes: int


@contextmanager
def opened(partition: str, fields: Fields, conversation: ConversationFields | None = None) -> Iterator["ParquetFile"]:
    """Open a Parquet file; BadParquetError where its footer makes no sense, OSError where its bytes cannot be had."""
    filesystem, path = open_partition(partition)
    plain = _PlainFile(filesystem.open_input_file(path))
    try:
        plain.read_footer()
        file = ParquetFile(plain, fields, conversation)
        num_rows = file.reader.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        plain.close()
        bad = BadParquetError(f"{partition!r} is not readable Parquet ({error}); write the file again")
        raise plain.failed or bad from error
    with plain:
        if not 0 <= num_rows <= MAX_ROWS_PER_BYTE * plain.size:
            raise BadParquetError(f"{partition!r} claims {num_rows} rows in {plain.size} bytes")
        yield file


class ParquetFile:
    """An open Parquet file: its reader, where its fields are, and how much text came of each row group so far."""

    def __init__(self, plain: "_PlainFile", fields: Fields, conversation: ConversationFields | None = None) -> None:
        guarded = pa.PythonFile(plain, mode="r")
        self.plain, self.reader, self.unpacked = plain, pq.ParquetReader(), dict[int, int]()
        options = {"buffer_size": 1 << 20, "pre_buffer": False, "coerce_int96_timestamp_unit": "us"}
        options["page_checksum_verification"] = True
        self.reader.open(guarded, **options)
        #: The same without dictionaries: Arrow has none of a column in one of the DELTA encodings.
        self.spelled_out = self.reader
        self.columns = locate(self.reader.schema_arrow, fields, conversation)
        if repeating := self.columns.repeating:
            self.reader = pq.ParquetReader()
            self.reader.open(guarded, metadata=self.spelled_out.metadata, read_dictionary=repeating, **options)

    def group(self, number: int) -> Group:
        """What the footer says of a row group."""
        group = self.reader.metadata.row_group(number)  # not its columns: Arrow ends the process over a damaged one
        return Group(group.num_rows, max(group.total_byte_size, 0), self.plain.size)


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
