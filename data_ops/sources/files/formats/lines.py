"""Where does each line of a file begin and end, and what does it hold?

`scan_lines` (scan.py) only counts them; `read_lines` takes their bytes line by line and lets `parse` say what each
holds. Every line is a record, also a blank one (dropped later as empty), so that ordinals follow from bytes alone. A
line is held in memory only up to `max_record_bytes`.
"""

import itertools
import re
import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data_ops.sources.fields import RecordRows
from data_ops.sources.files.formats.content import HEAD_BYTES, Format
from data_ops.sources.files.formats.streams import blocks, head_of, packing_of
from data_ops.sources.files.formats.unpack import Limits, TornError
from data_ops.sources.json_records import BOM, Parse
from data_ops.sources.protocol import ChangedError, Span

SAMPLE_BYTES = 200
#: What may stand before the names of a table: a mark, blank lines, and the line in which Excel names the separator.
PREFIX = re.compile(rb"\A(?:\xef\xbb\xbf)*(?:[ \t\r]*\n)*(?:sep=(?P<mark>[,;\t|])\r?\n)?", re.IGNORECASE)
QUOTED = re.compile(rb'"(?:[^"]|"")*+"')


def read_lines(span: Span, parse: Parse, limits: Limits, kind: Format = "jsonl") -> Iterator[pa.RecordBatch]:
    """Read the records of a span; whatever fails on one of them quarantines only that one.

    ChangedError if the bytes no longer hold as many lines as `discover` counted.
    """
    rows = RecordRows(span.first_record)
    done = 0
    for line, num_bytes, reason in _lines(span, limits, kind):
        done += 1
        if done > span.num_records:
            break
        if reason or span.doubt:
            rows.quarantine(reason or span.doubt, line, num_bytes)
        else:
            parse(line, num_bytes, rows)
        if rows.full:
            yield rows.take()
    if done != span.num_records:
        raise ChangedError(
            f"{span.partition!r} holds {done} records in bytes {span.start}..{span.end}, not the listed"
            f" {span.num_records}: it was rewritten; discover again"
        )
    if rows.texts:
        yield rows.take()


def _lines(span: Span, limits: Limits, kind: Format) -> Iterator[tuple[bytes, int, str | None]]:
    """Yield (line, bytes, reason) of each line; of one beyond the limit only the beginning is kept."""
    kept, dropped, left = b"", 0, span.end - span.start  # the unfinished line: its bytes, how many more were dropped
    number, limit, cutter = 0, limits.record_bytes, cutter_of(span.partition, kind, span.start, limits)
    size = span.end if packing_of(span.partition) is None else sys.maxsize
    try:
        for block in blocks(span.partition, span.start, size, limits):
            block = block[:left]
            left -= len(block)
            lines = cutter.split(block)
            for line in lines[:-1]:
                yield _line(kept + line if kept else line, dropped, limit)
                kept, dropped, number = b"", 0, number + 1
            kept += lines[-1]
            if len(kept) > limit:
                dropped += len(kept) - SAMPLE_BYTES
                kept = kept[:SAMPLE_BYTES]
            if left == 0 and number >= span.num_records:
                return
    except TornError as error:
        yield error.sample.encode() or kept, len(kept) + dropped, error.reason
        return
    if kept or dropped:
        yield _line(kept, dropped, limit)


def _line(line: bytes, dropped: int, limit: int) -> tuple[bytes, int, str | None]:
    num_bytes = len(line) + dropped + 1
    if dropped or len(line) > limit:
        return line[:SAMPLE_BYTES], num_bytes, "oversized"
    while line.startswith(BOM):  # also in the middle, and twice: `cat` of files with marks
        line = line.removeprefix(BOM)
    return line, num_bytes, None


class _Newlines:
    """Cuts blocks where lines end."""

    header_bytes = 0

    def count(self, block: bytes, most: int) -> tuple[int, int, int]:
        """Count the records that end in a block: how many, the end of the `most`-th or 0, the end of the last."""
        count = block.count(b"\n")
        if count < most:
            return count, 0, block.rfind(b"\n") + 1
        return count, int(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10)[most - 1]) + 1, 0

    def split(self, block: bytes) -> list[bytes]:
        """Split a block into the records that end in it, without their newlines, and what is left behind the last."""
        return block.split(b"\n")


class _Rows(_Newlines):
    """Cuts blocks where rows of a table end; a newline in a quoted field ends none."""

    def __init__(self, delimiter: str, header_bytes: int, most: int) -> None:
        self.header_bytes = header_bytes
        self._delimiter, self._state, self._most = ord(delimiter), 0, most

    def _ends(self, block: bytes) -> list[int]:
        from data_ops.kernels.table_rows import row_ends  # numba, 0.5 s: only where there are tables

        ends, self._state = row_ends(block, self._delimiter, self._state, self._most)
        return list(ends.tolist())

    def count(self, block: bytes, most: int) -> tuple[int, int, int]:
        ends = self._ends(block)
        return len(ends), (ends[most - 1] if len(ends) >= most else 0), (ends[-1] if ends else 0)

    def split(self, block: bytes) -> list[bytes]:
        ends = self._ends(block)
        return [block[a : b - 1] for a, b in itertools.pairwise([0, *ends])] + [block[ends[-1] if ends else 0 :]]


def header_of(partition: str, kind: Format, limits: Limits | None = None) -> tuple[bytes, str]:
    """Read a table down to the end of its first row, and tell what separates its fields. b"" if it is not whole yet."""
    most = (limits or Limits()).record_bytes
    for size in (min(HEAD_BYTES, most), most):
        head = head_of(partition, limits, size)
        before = PREFIX.match(head)
        begin, mark = (before.end(), before["mark"]) if before else (0, None)
        delimiter = mark.decode() if mark else "\t" if kind == "tsv" else _delimiter(head[begin:])
        rows = _Rows(delimiter, 0, most).split(head[begin:])
        if len(rows) > 1 or len(head) < size:
            break
    return (head[: begin + len(rows[0]) + 1] if len(rows) > 1 else b""), delimiter


def _delimiter(head: bytes) -> str:
    """What stands most often between the names of the first row; those may hold it too, in quotes."""
    first = QUOTED.sub(b"", head).partition(b"\n")[0]
    return max(",;\t|", key=lambda mark: first.count(mark.encode()))


def cutter_of(partition: str, kind: Format, start: int, limits: Limits | None) -> _Newlines:
    """What cuts the bytes of a file from position `start` on into records."""
    if kind not in ("csv", "tsv"):
        return _Newlines()
    header, delimiter = header_of(partition, kind, limits)
    return _Rows(delimiter, len(header) if start == 0 else 0, (limits or Limits()).record_bytes)
