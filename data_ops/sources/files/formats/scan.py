"""How many whole lines lie behind a position, and is what they are packed in whole?

Newlines are counted in big blocks without parsing (1 GB/s), so listing a window is cheap.
"""

import sys
import zlib
from typing import NamedTuple

from data_ops.sources.files.formats.content import FileKind
from data_ops.sources.files.formats.lines import cutter_of
from data_ops.sources.files.formats.streams import blocks, head_of
from data_ops.sources.files.formats.unpack import TornError


class Piece(NamedTuple):
    """A stretch of whole lines: they end at byte `end` and are `num_records` many."""

    end: int
    num_records: int


class Scan(NamedTuple):
    """What lies behind a position: whole lines, then `rest` bytes without a newline.

    more: the limit cut the scan short. torn: the stream cannot be read on behind the rest; damaged: nor ever will be,
    and what it gave since byte `since` is in doubt: so many whole lines of it are in `doubted`.
    """

    pieces: list[Piece]
    rest: int
    more: bool
    sums: "Sums"
    first: int = 0  # where the first record begins: behind the header of a table
    torn: bool = False
    damaged: bool = False
    reason: str = ""
    since: int = sys.maxsize
    doubted: Piece | None = None


class Sums:
    """CRC-32 of the bytes up to the end of the last whole line, and of all; they go on from look to look."""

    def __init__(self, before: int) -> None:
        self.before = self.lines = self.all = before
        self.holes = False

    def add(self, block: bytes, cut: int) -> None:
        """Take in a block; the last whole line ends at its byte `cut`, 0 if none does."""
        view = memoryview(block)
        if cut:
            self.lines = self.all = zlib.crc32(view[:cut], self.all)
        self.all = zlib.crc32(view[cut:], self.all)
        self.holes = self.holes or b"\0" in block


def scan_lines(
    partition: str, start: int, size: int, most: int, piece_bytes: int, kind: FileKind, total: int = 0
) -> Scan:
    """Count records from byte `start` on, at most `most`, in pieces of at least `piece_bytes`.

    total: CRC-32 of the bytes before.
    """
    pieces: list[Piece] = []
    cutter = cutter_of(partition, kind.format, start, kind.limits)
    position = end = begin = first = start + cutter.header_bytes
    sums = Sums(zlib.crc32(head_of(partition, kind.limits, first), total) if first > start else total)
    found = 0  # records of the piece that is being gathered, which began at `begin`
    torn: TornError | None = None
    try:
        for block in blocks(partition, first, size, kind.limits):
            count, nth_end, last_end = cutter.count(block, most)
            sums.add(block, nth_end or last_end)
            if nth_end:
                pieces.append(Piece(position + nth_end, found + most))
                return Scan(pieces, 0, True, sums, first)
            if count:
                end = position + last_end
            position += len(block)
            found += count
            most -= count
            if end - begin >= piece_bytes and found:
                pieces.append(Piece(end, found))
                begin, found = end, 0
    except TornError as error:
        torn = error
    if found:
        pieces.append(Piece(end, found))
    scan = Scan(pieces, position - end, False, sums, first, torn is not None)
    return scan if torn is None or torn.ends_early else _damaged(scan, torn, partition, size, kind)


def _damaged(scan: Scan, torn: TornError, partition: str, size: int, kind: FileKind) -> Scan:
    """Part what a damaged stream gave into lines that are good and lines that may be other ones than were packed."""
    scan = scan._replace(damaged=True, reason=torn.reason)
    if torn.since is None or not scan.pieces:
        return scan
    [(end, found)] = scan.pieces  # a packed file is one piece
    cutter, position = cutter_of(partition, kind.format, scan.first, kind.limits), scan.first
    good = Piece(position, 0)
    for block in blocks(partition, scan.first, size, kind.limits):
        count, _, last_end = cutter.count(block[: torn.since - position], found + 1)
        good = Piece(position + last_end, good.num_records + count) if count else good
        position += len(block)
        if position >= torn.since:
            break
    pieces = [good] if good.num_records else []
    left = found - good.num_records
    return scan._replace(pieces=pieces, since=torn.since, doubted=Piece(end, left) if left else None)
