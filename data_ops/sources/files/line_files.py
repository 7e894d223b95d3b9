"""What is new in a file of lines or rows, packed or not?"""

from dataclasses import dataclass, field

from data_ops.sources.files.entry import Entry, State
from data_ops.sources.files.formats.content import FileKind
from data_ops.sources.files.formats.scan import Piece, Scan, scan_lines
from data_ops.sources.files.formats.streams import packing_of, raw_mark
from data_ops.sources.files.step import REPLACE, Step, damaged, waiting
from data_ops.sources.files.tail import behind_the_tail, is_object
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Span

PIECE_BYTES = 32 << 20  # a span of an uncompressed file holds about so much, so that several workers can read it


@dataclass
class _Taken:
    """The spans of a file so far, one behind the other."""

    file: FileState
    packed: bool
    end: int
    num_records: int  # of all generations
    total: int = -1
    spans: list[Span] = field(default_factory=list)

    def take(self, piece: Piece, total: int, doubt: str = "") -> None:
        """Add the records up to the end of a piece; `total` is the CRC-32 of all that is taken then."""
        file, marked = self.file, self.file.size if self.packed else piece.end
        mark, first = raw_mark(file.partition, marked), self.num_records
        place = (first, piece.num_records, self.end, piece.end)
        self.spans.append(Span(file.partition, *place, file.modified_s, mark, marked, doubt=doubt))
        self.end, self.num_records, self.total = piece.end, first + piece.num_records, total


def look_at_lines(kind: FileKind, file: FileState, known: Entry, max_records: int, quiet: bool) -> Step:
    """Find at most `max_records` new records behind what is known of a file."""
    packed = packing_of(file.partition) is not None
    if known.state == "ended":
        known = behind_the_tail(kind, file, known, quiet=quiet)
        if known.state == "ended":
            return Step([], known._replace(size=file.size, modified_ns=file.modified_ns))
    piece_bytes = 1 << 62 if packed else PIECE_BYTES
    found = scan_lines(file.partition, known.end, file.size, max_records, piece_bytes, kind, max(known.total, 0))
    taken = _Taken(file, packed, found.first, known.num_records, found.sums.before)
    for piece in found.pieces:
        taken.take(piece, found.sums.lines)
    state, tail = _take_the_end(kind, found, taken, quiet)
    mark, marked = (taken.spans[-1].mark, taken.spans[-1].marked) if taken.spans else (known.mark, known.marked)
    if taken.end == 0 and file.size:  # only so is the file found again if it is renamed before its first line is whole
        mark, marked = raw_mark(file.partition, file.size), file.size
    entry = known._replace(end=taken.end, num_records=taken.num_records, mark=mark, marked=marked, state=state)
    entry = entry._replace(size=file.size, modified_ns=file.modified_ns, tail=tail)
    is_known = known.total >= 0 and not found.damaged
    entry = entry._replace(total=taken.total if is_known else -1, holes=known.holes or found.sums.holes)
    if state == "damaged":
        return Step(taken.spans, entry, [_damage(file, known, found, taken.num_records)], damaged(file))
    reason = "cut_stream" if found.torn else "half_line"
    return waiting(Step(taken.spans, entry), file, reason, file.size if packed else file.size - taken.end)


def _take_the_end(kind: FileKind, found: Scan, taken: _Taken, quiet: bool) -> tuple[State, int]:
    """Take what stands behind the last whole line if it is whole, or lost: the state, and the bytes of a tail."""
    if found.damaged and quiet:
        if found.doubted is not None:
            taken.take(found.doubted, -1, found.reason)
        taken.take(Piece(taken.end + found.rest, 1), -1)
        return "damaged", 0
    if not (found.torn or found.rest):
        return "cut" if found.more else "read", 0
    has_header = kind.format == "lines" or taken.end > 0  # a table whose first row is not whole has none yet
    is_whole = is_object(taken.file, taken.end, found.rest) if kind.format == "jsonl" else quiet and has_header
    if found.torn or not is_whole:
        return "stalled" if quiet else "waits", 0
    taken.take(Piece(taken.end + found.rest, 1), found.sums.all)
    return "ended", 0 if kind.format == "jsonl" else found.rest


def _damage(file: FileState, known: Entry, found: Scan, number: int) -> str:
    """Say what of a packed file cannot be read, and what of it cannot be believed."""
    said = f"{file.partition} is damaged behind record {number - 1}: the rest cannot be unpacked"
    if found.doubted is not None:
        said += f", and the {found.doubted.num_records} records before it, of the same stream, cannot be believed"
    if found.since < known.end:
        said += "; records of that stream which earlier windows hold may be other ones than were packed"
    return f"{said}; {REPLACE}"
