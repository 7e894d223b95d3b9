"""Where are the batches of a stream of Arrow, and how many rows does each have?

Only the frames are read, some hundred bytes a batch, never the columns: the length of a message's body and of its batch
stand in its metadata, a table of Google's FlatBuffers (Arrow: "Encapsulated message format"). So a batch in the middle
of a large file is found, and read by itself, behind the schema. What a file from a stranger claims is bounded.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from data_ops.sources.files.listing import read_at

CONTINUES = 0xFFFFFFFF
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
MAX_METADATA_BYTES = 64 << 20
MAX_ROWS_PER_BYTE = 64  # as of Parquet: what a batch may claim
LOOK_BYTES = 64 << 10  # read at once where a message begins


class BadArrowError(ValueError):
    """A file that is no stream of Arrow, or goes on otherwise; the sentence says where."""


class ArrowFrame(NamedTuple):
    """A message of a stream: its bytes [start, end), what it is, and the rows of a batch."""

    kind: int
    start: int
    end: int
    num_rows: int


def frames(file: pa.NativeFile) -> Iterator[ArrowFrame]:
    """Yield the messages of a stream. BadArrowError where it makes no sense, or ends too early."""
    position, size = 0, file.size()
    while position < size:
        head = read_at(file, position, LOOK_BYTES)
        try:
            length, begin = struct.unpack_from("<I", head)[0], 4
            if length == CONTINUES:
                length, begin = struct.unpack_from("<I", head, 4)[0], 8
            if length == 0:
                return
            if length > min(MAX_METADATA_BYTES, size - position):
                raise ValueError(f"its metadata would take {length} bytes")
            metadata = head[begin : begin + length]
            if len(metadata) < length:
                metadata = read_at(file, position + begin, length)
            kind, body, num_rows = _message(metadata)
        except (struct.error, ValueError, IndexError) as error:
            raise BadArrowError(f"no message of Arrow begins at byte {position} ({error})") from error
        end = position + begin + length + body
        if not (body >= 0 and end <= size and 0 <= num_rows <= MAX_ROWS_PER_BYTE * (body + length)):
            raise BadArrowError(f"the message at byte {position} claims {num_rows} rows and {body} of {size} bytes")
        yield ArrowFrame(kind, position, end, num_rows)
        position = end


def _message(metadata: bytes) -> tuple[int, int, int]:
    """Read the kind of a message, the bytes of its body and the rows of its batch."""
    message = struct.unpack_from("<I", metadata)[0]
    kind = _field(metadata, message, 1, "<B")
    body = _field(metadata, message, 3, "<q")
    if kind != BATCH:
        return kind, body, 0
    place = _place(metadata, message, 2)
    return kind, body, _field(metadata, place + struct.unpack_from("<I", metadata, place)[0], 0, "<q")


def _place(metadata: bytes, table: int, number: int) -> int:
    """Return where a field of a table is; 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0:
        raise ValueError("a table lies outside")
    if 4 + 2 * number >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _field(metadata: bytes, table: int, number: int, form: str) -> int:
    place = _place(metadata, table, number)
    return int(struct.unpack_from(form, metadata, place)[0]) if place else 0
