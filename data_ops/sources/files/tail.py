"""What is the end of a file worth that has no newline, and where does it go on when the file has grown?

An object of JSON is whole, whatever follows it in its line is passed over. A row of a table, and a document that is a
line, may be half of what its writer meant: where the line went on, it is read again as a whole, as a further record.
So nothing is lost, and the price is that the half stays beside the whole.
"""

import orjson

from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.content import FileKind
from data_ops.sources.files.formats.scan import scan_lines
from data_ops.sources.files.formats.streams import blocks
from data_ops.sources.files.formats.unpack import TornError
from data_ops.sources.files.walk import FileState

MAX_TAIL_BYTES = 16 << 20  # a longer unfinished line is not tried as an object


def is_object(file: FileState, start: int, size: int) -> bool:
    """Say whether an end without a newline is a whole JSON object, which nothing that follows can make another."""
    if size > MAX_TAIL_BYTES:
        return False
    try:
        return isinstance(orjson.loads(b"".join(blocks(file.partition, start, file.size))[:size]), dict)
    except (orjson.JSONDecodeError, TornError):
        return False


def behind_the_tail(kind: FileKind, file: FileState, known: Entry, *, quiet: bool) -> Entry:
    """Move a file that ended without a newline on to its next line; as it is while the line is not ended."""
    begin = known.end - known.tail
    found = scan_lines(file.partition, begin, file.size, 1, 1 << 62, kind)
    is_ended = bool(found.pieces)
    end = found.pieces[0].end if is_ended else begin + found.rest
    if not is_ended and (found.torn or not quiet or not known.tail):
        return known
    behind = _written(file, known.end, end)
    if known.tail and behind:
        return known._replace(end=begin, state="cut", tail=0, total=-1)
    if not is_ended:
        return known
    return known._replace(end=end, state="cut", skipped=known.skipped + behind, tail=0, total=-1)


def _written(file: FileState, start: int, end: int) -> int:
    """Count the bytes between two positions that are not white space."""
    position = written = 0
    for block in blocks(file.partition, start, file.size):
        written += len(block[: end - start - position].strip())
        position += len(block)
        if position >= end - start:
            break
    return written
