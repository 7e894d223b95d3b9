"""What is new in a file since it was last looked at?

No end of a file is final. The cursor holds how far a file was read and a fingerprint of the bytes before: appended
records are read on from there, whatever stood unfinished. An unfinished end (half a line, Parquet without a footer, a
cut stream) waits, and is named once the file has been quiet. An end without a newline is taken if it may be whole
(tail.py). A file whose bytes before are other ones is a new
generation under an old name: its records are read once, under the ordinals that follow. A cursor entry costs some 150
bytes a file.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.content import FileKind
from data_ops.sources.files.formats.parquet import count_rows
from data_ops.sources.files.formats.parquet_file import BadParquetError
from data_ops.sources.files.formats.streams import (
    blocks,
    mark_of,
    packing_of,
    raw_mark,
    stands_in,
    total_of,
)
from data_ops.sources.files.formats.unpack import TornError
from data_ops.sources.files.line_files import look_at_lines
from data_ops.sources.files.step import REPLACE, Step, damaged, waiting
from data_ops.sources.files.walk import FileState, renamed
from data_ops.sources.protocol import Span, Untaken

Quiet = Callable[[FileState], bool]  # whether a file has not changed for a while, by our own clock


def is_done(known: Entry, file: FileState) -> bool:
    """Say from the listing alone that there is nothing to look at."""
    return known.state in ("read", "ended", "damaged") and _same(known, file)


def look_at(kind: FileKind, file: FileState, known: Entry | None, max_records: int, quiet: Quiet) -> Step:
    """Find at most `max_records` new records in a file; `known` is what the last look gave.

    FileNotFoundError if the file is gone.
    """
    known = known or Entry(file.size, file.modified_ns, 0, 0, "", "cut", total=0)
    if known.state != "rewritten" and (_same(known, file) or _goes_on(kind, file, known)):
        stood_still = known.state == "stalled" and _same(known, file)
        return _look_on(kind, file, known, max_records, quiet(file) or stood_still)
    before = _read_predecessor(kind, file, known, max_records, quiet)
    if before is not None and before.entry.size < 0:
        return before
    lost = known.abandoned + _left_behind(kind, file.partition, known)
    known = before.entry if before else known._replace(abandoned=lost)
    fresh = Entry(file.size, file.modified_ns, 0, known.num_records, "", "cut", -1, known.generation + 1, *known[8:10])
    fresh = fresh._replace(total=0)
    spans = before.spans if before else []
    step = _look_on(kind, file, fresh, max_records - sum(s.num_records for s in spans), quiet(file))
    said = f"{file.partition} is another file than before, of which {known.num_records} records were read; now it is"
    return replace(step, spans=spans + step.spans, warnings=[said] * bool(known.num_records) + step.warnings)


def _same(known: Entry, file: FileState) -> bool:
    return (known.size, known.modified_ns) == (file.size, file.modified_ns)


def _goes_on(kind: FileKind, file: FileState, known: Entry) -> bool:
    """Say whether what was read of a changed file still stands in it; Parquet and packed text come as a whole."""
    if known.state == "damaged":
        return False  # it may be whole now: all of it is read again, and what was read before is a duplicate
    if known.end == 0 and known.marked <= 0:
        return True  # nothing of it was read
    if file.size == known.size or known.holes:  # written again in its place, as downloads fill what they have reserved
        if kind.format == "parquet" and file.size == known.size:
            return False
        stored = not kind.has_lines
        if known.total >= 0 and total_of(file.partition, known.end, file.size, stored) != (known.total, known.end):
            return False
    packed = packing_of(file.partition) is not None
    if not kind.has_lines and (kind.format == "parquet" or packed) and file.size != known.size:
        return False
    if known.marked < 0 and kind.has_lines and packed:
        return mark_of(file.partition, known.end, file.size) == known.mark
    marked = known.marked if known.marked >= 0 else known.end if kind.has_lines else known.size
    return file.size >= marked and raw_mark(file.partition, marked) == known.mark


def _read_predecessor(kind: FileKind, file: FileState, known: Entry, max_records: int, quiet: Quiet) -> Step | None:
    """Read what is left of a file that was renamed when another took its name; None if it is not found.

    The entry has size -1 as long as more may come of it: then the new file is not looked at yet.
    """
    if not kind.has_lines or known.marked < 0 or known.state == "rewritten":
        return None
    old = renamed(file.partition, lambda other: stands_in(other, known.marked, known.mark))
    if old is None:
        return None
    step = look_at_lines(kind, old, known, max_records, quiet(old))
    step.spans = [replace(span, partition=file.partition) for span in step.spans]
    if step.entry.state in ("cut", "waits") or not quiet(old):
        step.entry = step.entry._replace(size=-1)
        step.waiting = step.waiting or Untaken(old.partition, "waiting", "changing", 0)
    else:
        left = old.size - step.entry.end if step.entry.state == "stalled" else 0
        step.entry = step.entry._replace(abandoned=step.entry.abandoned + max(left, 0))
    return step


def _left_behind(kind: FileKind, partition: str, known: Entry) -> int:
    """How many bytes were seen of an earlier generation and never read."""
    if known.state not in ("cut", "waits", "stalled") or known.size < 0 or known.end == 0:
        return 0
    return known.size - known.end if kind.has_lines and packing_of(partition) is None else known.size


def _look_on(kind: FileKind, file: FileState, known: Entry, max_records: int, quiet: bool) -> Step:
    known = known._replace(size=file.size, modified_ns=file.modified_ns)
    if known.state == "damaged":
        return Step([], known, waiting=damaged(file))
    if max_records <= 0:
        return Step([], known._replace(state="cut"))
    if kind.has_lines:
        return look_at_lines(kind, file, known, max_records, quiet)
    return (_look_at_parquet if kind.format == "parquet" else _look_at_text)(file, known, max_records, quiet)


def _look_at_parquet(file: FileState, known: Entry, max_records: int, quiet: bool) -> Step:
    mark = known.mark if known.end and known.marked == file.size else raw_mark(file.partition, file.size)
    entry = known._replace(mark=mark, marked=file.size)
    common: dict[str, Any] = {"modified_s": file.modified_s, "mark": mark, "marked": file.size}
    try:
        num_rows = count_rows(file.partition)
    except BadParquetError:
        if not _has_footer(file) or not quiet:
            step = Step([], entry._replace(mark="", marked=-1, state="stalled" if quiet else "waits"))
            return waiting(step, file, "no_footer", file.size)
        span = Span(file.partition, known.num_records, 1, 0, 0, **common)
        said = f"{file.partition} is damaged: no row of it can be read; {REPLACE}"
        return Step([span], entry._replace(num_records=known.num_records + 1, state="damaged"), [said], damaged(file))
    end = min(known.end + max_records, num_rows)
    count, first = end - known.end, known.num_records
    entry = entry._replace(end=end, num_records=first + count, state="read" if end == num_rows else "cut")
    return Step([Span(file.partition, first, count, known.end, end, **common)] if count else [], entry)


def _has_footer(file: FileState) -> bool:
    """Say whether the file ends as a Parquet file does that its writer has closed."""
    tail = b"".join(blocks(file.partition, max(file.size - 4, 0), file.size))
    return tail in (b"PAR1", b"PARE") and file.size > 12


def _look_at_text(file: FileState, known: Entry, max_records: int, quiet: bool) -> Step:
    if not quiet:
        return waiting(Step([], known._replace(state="waits")), file, "changing", file.size - known.end)
    if known.end >= file.size:
        return Step([], known._replace(state="read"))
    if packing_of(file.partition) is not None and (torn := _torn(file)) is not None and torn.ends_early:
        return waiting(Step([], known._replace(state="stalled")), file, "cut_stream", file.size)
    mark, total = raw_mark(file.partition, file.size), total_of(file.partition, file.size, file.size, stored=True)[0]
    span = Span(file.partition, known.num_records, 1, known.end, file.size, file.modified_s, mark, file.size)
    entry = known._replace(end=file.size, num_records=known.num_records + 1, mark=mark, marked=file.size, state="read")
    return Step([span], entry._replace(total=total))


def _torn(file: FileState) -> TornError | None:
    try:
        for _ in blocks(file.partition, 0, file.size):
            pass
    except TornError as error:
        return error
    return None
