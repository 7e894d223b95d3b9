"""Where do the records of a JSON lines file begin and end, and what is in them?

`scan` counts newlines in big blocks without parsing (1 GB/s), so listing a window is cheap; `read_lines`
parses its bytes line by line. Every line is a record, also a blank one (dropped later as empty), so that
ordinals follow from bytes alone. A line is held in memory only up to `max_record_bytes`.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from data_ops.sources.fields import Rows, name_of, time_us
from data_ops.sources.files.streams import TornError, blocks, codec_of
from data_ops.sources.protocol import ChangedError, Span

BOM = b"\xef\xbb\xbf"
SAMPLE_BYTES = 200
Fields = tuple[str, str | None, str | None]  # names of the text, the time and the id


class Piece(NamedTuple):
    """A stretch of whole lines: they end at byte `end` and are `num_records` many."""

    end: int
    num_records: int


class Scan(NamedTuple):
    """What lies behind a position: whole lines, then `rest` bytes without a newline.

    more: the limit cut the scan short. torn: the stream cannot be read on behind the rest; damaged: nor ever will be.
    """

    pieces: list[Piece]
    rest: int
    more: bool
    torn: bool
    damaged: bool = False


def scan(partition: str, start: int, size: int, max_records: int, piece_bytes: int) -> Scan:
    """Count lines from byte `start` on, at most `max_records`, in pieces of at least `piece_bytes`."""
    pieces: list[Piece] = []
    position = end = begin = start
    found = 0  # lines of the piece that is being gathered, which began at `begin`
    try:
        for block in blocks(partition, start, size):
            count = block.count(b"\n")
            if count >= max_records:
                newline = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)[max_records - 1]
                pieces.append(Piece(position + int(newline) + 1, found + max_records))
                return Scan(pieces, 0, True, False)
            if count:
                end = position + block.rindex(b"\n") + 1
            position += len(block)
            found += count
            max_records -= count
            if end - begin >= piece_bytes and found:
                pieces.append(Piece(end, found))
                begin, found = end, 0
        torn = damaged = False
    except TornError as error:
        torn, damaged = True, not error.ends_early
    if found:
        pieces.append(Piece(end, found))
    return Scan(pieces, position - end, False, torn, damaged)


def read_lines(span: Span, fields: Fields, limit: int) -> Iterator[pa.RecordBatch]:
    """Read the records of a span, none longer than `limit` bytes.

    ChangedError if the bytes no longer hold as many lines as `discover` counted.
    """
    rows = Rows(span.first_record)
    done = 0
    for line, num_bytes, reason in _lines(span, limit):
        done += 1
        if done > span.num_records:
            break
        if reason:
            rows.quarantine(reason, line, num_bytes)
        else:
            _parse(line, num_bytes, fields, rows)
        if rows.full:
            yield rows.take()
    if done != span.num_records:
        raise ChangedError(
            f"{span.partition!r} holds {done} records in bytes {span.start}..{span.end}, not the listed"
            f" {span.num_records}: it was rewritten; discover again"
        )
    if rows.texts:
        yield rows.take()


def _lines(span: Span, limit: int) -> Iterator[tuple[bytes, int, str | None]]:
    """Yield (line, bytes, reason) of each line; of one beyond `limit` bytes only the beginning is kept."""
    kept, dropped, left = (
        b"",
        0,
        span.end - span.start,
    )  # the unfinished line: its bytes, how many more were let go
    first = span.start == 0
    number = 0
    torn = None
    size = span.end if codec_of(span.partition) is None else sys.maxsize
    try:
        for block in blocks(span.partition, span.start, size):
            block = block[:left]
            left -= len(block)
            lines = block.split(b"\n")
            for line in lines[:-1]:
                yield _line(kept + line if kept else line, dropped, limit, first and number == 0)
                kept, dropped, number = b"", 0, number + 1
            kept += lines[-1]
            if len(kept) > limit:
                dropped += len(kept) - SAMPLE_BYTES
                kept = kept[:SAMPLE_BYTES]
            if left == 0 and number >= span.num_records:
                return
    except TornError as error:
        torn = str(error)
    if torn:
        yield kept, len(kept) + dropped, torn
    elif kept or dropped:
        yield _line(kept, dropped, limit, first and number == 0)


def _line(line: bytes, dropped: int, limit: int, at_start: bool) -> tuple[bytes, int, str | None]:
    num_bytes = len(line) + dropped + 1
    if dropped or len(line) > limit:
        return line[:SAMPLE_BYTES], num_bytes, "oversized"
    return line.removeprefix(BOM) if at_start else line, num_bytes, None


def _parse(line: bytes, num_bytes: int, fields: Fields, rows: Rows) -> None:
    text_field, time_field, id_field = fields
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if line.isspace() or not line:
            rows.add("", None, None, num_bytes)
        else:
            rows.quarantine(_why_not_json(line, str(error)), line, num_bytes)
        return
    if type(record) is not dict:
        rows.quarantine("not_an_object", line, num_bytes)
        return
    text = record.get(text_field)
    if type(text) is str:
        time = None if time_field is None else time_us(record.get(time_field))
        rows.add(text, time, None if id_field is None else name_of(record.get(id_field)), num_bytes)
    else:
        rows.quarantine("missing_text" if text is None else "wrong_type", line, num_bytes)


def _why_not_json(line: bytes, message: str) -> str:
    if b"\0" in line:
        return "nul_bytes"
    if "ecursion" in message or "depth" in message:
        return "too_deep"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "bad_utf8"
    return "bad_utf8" if "surrogate" in message else "bad_json"
