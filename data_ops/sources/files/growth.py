"""What is new in a file since it was last looked at?

The cursor holds how far a file was read and a fingerprint of what was read. Appended lines are new records;
anything else is a rewrite, which is named and not read further. An unfinished last line waits for its
newline, but not for ever: once the file has `settled` (no change for a while; objects in a bucket at once) it
is a record. If its line grows all the same, that is named as a rewrite; a longer `settle` makes that rarer
and the end of a finished file later. A cursor entry costs some 150 bytes a file.
"""

from typing import Literal, NamedTuple

from data_ops.sources.files.lines import scan
from data_ops.sources.files.listing import FileState
from data_ops.sources.files.parquet import BadParquetError, count_rows
from data_ops.sources.files.streams import blocks, codec_of, mark_of, raw_mark
from data_ops.sources.protocol import Span

PIECE_BYTES = 32 << 20  # a span of an uncompressed file holds about so much, so that several workers can read it
Format = Literal["jsonl", "parquet", "text"]


class Entry(NamedTuple):
    """What the cursor knows of a file; a JSON list there.

    state: "read" all there is, "cut" by a window, "waits" for an unfinished end, "ended" without a newline or
    torn (so it cannot grow), "rewritten" under us.
    """

    size: int
    modified_ns: int
    end: int  # bytes (decompressed) or rows consumed
    num_records: int
    mark: str
    state: str


class Step(NamedTuple):
    """What one look into one file gave."""

    spans: list[Span]
    entry: Entry
    warning: str | None = None


def look(kind: Format, file: FileState, known: Entry | None, max_records: int, settled: bool) -> Step:
    """Find at most `max_records` new records in a file; `known` is what the last look gave.

    FileNotFoundError if the file is gone.
    """
    known = known or Entry(file.size, file.modified_ns, 0, 0, "", "cut")
    if not _same(known, file) and known.num_records:
        start = _grown_from(file, known) if kind == "jsonl" else _unchanged(file, known)
        if start is None:
            warning = (
                f"{file.partition} was rewritten after {known.num_records} of its records were read; it is left"
                " alone from now on: put new text into new files or append lines"
            )
            return Step([], _seen(known, file)._replace(state="rewritten"), warning)
        if start == known.end and known.state != "cut" and (kind != "jsonl" or known.state == "ended"):
            return Step([], _seen(known, file))  # only touched
        known = known._replace(end=start)
    if known.state == "waits" and not settled and _same(known, file):
        return Step([], known)
    if kind == "jsonl":
        return _look_at_lines(file, known, max_records, settled)
    return (_look_at_parquet if kind == "parquet" else _look_at_text)(file, known, max_records, settled)


def _same(known: Entry, file: FileState) -> bool:
    return (known.size, known.modified_ns) == (file.size, file.modified_ns)


def _seen(known: Entry, file: FileState) -> Entry:
    return known._replace(size=file.size, modified_ns=file.modified_ns)


def is_done(known: Entry, file: FileState) -> bool:
    """Say from the listing alone that there is nothing to look at."""
    return known.state == "rewritten" or (known.state in ("read", "ended") and _same(known, file))


def _unchanged(file: FileState, known: Entry) -> int | None:
    """Give back the position if a file that must not change is the same as before, only newer."""
    same = file.size == known.size and raw_mark(file.partition, file.size) == known.mark
    return known.end if same else None


def _grown_from(file: FileState, known: Entry) -> int | None:
    """Find where new lines begin in a changed file; None if what was read is no longer there."""
    if mark_of(file.partition, known.end, file.size) != known.mark:
        return None
    if known.state != "ended" or file.size == known.size:
        return known.end
    if codec_of(file.partition) is not None:
        return None
    following = b"".join(blocks(file.partition, known.end, min(known.end + 2, file.size)))
    for newline in (b"\n", b"\r\n"):
        if following.startswith(newline):  # the unfinished line was complete after all
            return known.end + len(newline)
    return None


def _look_at_lines(file: FileState, known: Entry, max_records: int, settled: bool) -> Step:
    piece_bytes = PIECE_BYTES if codec_of(file.partition) is None else 1 << 62
    found = scan(file.partition, known.end, file.size, max_records, piece_bytes)
    spans: list[Span] = []
    start, number = known.end, known.num_records
    for piece in found.pieces:
        spans.append(Span(file.partition, number, piece.num_records, start, piece.end, file.modified_s))
        start, number = piece.end, number + piece.num_records
    unfinished = found.rest > 0 or found.torn
    state = "cut" if found.more else "waits" if unfinished else "read"
    if unfinished and settled:
        # The scan stops at the limit before it sees an unfinished end, so there is room for one more.
        spans.append(Span(file.partition, number, 1, start, start + found.rest, file.modified_s))
        start, number, state = start + found.rest, number + 1, "ended"
    mark = mark_of(file.partition, start, file.size) if spans else known.mark
    return Step(spans, Entry(file.size, file.modified_ns, start, number, mark, state))


def _look_at_parquet(file: FileState, known: Entry, max_records: int, settled: bool) -> Step:
    entry = _seen(known, file)
    try:
        num_rows = count_rows(file.partition)
    except BadParquetError:
        if not settled:
            return Step([], entry._replace(state="waits"))
        span = Span(file.partition, 0, 1, 0, 0, file.modified_s)
        mark = raw_mark(file.partition, file.size)
        return Step([span], entry._replace(num_records=1, mark=mark, state="ended"))
    end = min(known.end + max_records, num_rows)
    count = end - known.end
    mark = known.mark or raw_mark(file.partition, file.size)
    entry = entry._replace(end=end, num_records=end, mark=mark, state="read" if end == num_rows else "cut")
    return Step([Span(file.partition, known.end, count, known.end, end, file.modified_s)] if count else [], entry)


def _look_at_text(file: FileState, known: Entry, max_records: int, settled: bool) -> Step:
    if not settled:
        return Step([], _seen(known, file)._replace(state="waits"))
    mark = raw_mark(file.partition, file.size)
    entry = Entry(file.size, file.modified_ns, file.size, 1, mark, "ended")
    return Step([Span(file.partition, 0, 1, 0, file.size, file.modified_s)], entry)
