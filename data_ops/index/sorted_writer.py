"""How is a file of sorted rows written, from memory or from other files, and how do rows leave one?

From front to back, in stretches of whole lines, so that a merge of files of any size takes the same memory. The sum of
what is read must be the sum that was written: nothing damaged is handed on.
"""

import os
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from data_ops.index.kept import DamagedIndexError
from data_ops.index.sorted_file import WORD, FileFacts, SortedFile, rows_begin
from data_ops.kernels.arrays import Bools, Words
from data_ops.kernels.sorted_rows import (
    HEADER,
    WORDS_A_LINE,
    Rows,
    fill_lines,
    first_key,
    header,
    in_order_of_rows,
    number_of_lines,
    sum_of,
)

WORDS_AT_ONCE = 1 << 20  # how many are in memory while files are merged
SYNC_BYTES = 64 << 20  # what is written between two syncs, so that the last one is short


class SortedWriter:
    """Writes a file of so many rows from front to back, in stretches of whole lines."""

    def __init__(self, file: IO[bytes], num_rows: int, width: int) -> None:
        self.file, self.num_rows, self.width, self.num_lines = file, num_rows, width, number_of_lines(num_rows)
        self.line = self.num_written = self.total = self._unsynced = 0

    def write(self, rows: Rows, last_line: int) -> None:
        """Write the sorted rows of the lines from where the writer stands to `last_line` (not included).

        DamagedIndexError where they do not belong there.
        """
        at_the_end = last_line == self.num_lines
        lines = np.zeros(WORDS_A_LINE * (last_line - self.line + at_the_end), np.uint64)
        fits = fill_lines(rows, self.num_written, lines, self.line, self.num_lines)
        if not fits or self.num_written + len(rows) > self.num_rows:
            raise DamagedIndexError(f"rows {self.num_written} and so on are not in order")
        for place, words in (
            (HEADER + WORDS_A_LINE * self.line, lines),
            (rows_begin(self.num_lines) + self.width * self.num_written, rows),
        ):
            self.file.seek(WORD * place)
            self.file.write(np.ascontiguousarray(words).reshape(-1).view(np.uint8).data)
        self.total = (self.total + sum_of(rows)) % 2**64
        self.line, self.num_written, self._unsynced = (
            last_line,
            self.num_written + len(rows),
            self._unsynced + rows.nbytes,
        )
        if self._unsynced > SYNC_BYTES:
            self.file.flush()
            os.fsync(self.file.fileno())
            self._unsynced = 0

    def end(self, name: str) -> FileFacts:
        """Write the beginning, when all rows are there."""
        if self.num_written != self.num_rows:
            raise DamagedIndexError(f"{self.num_written} of {self.num_rows} rows are there")
        self.file.seek(0)
        self.file.write(header(self.num_rows, self.num_lines, self.total, self.width).tobytes())
        return FileFacts(name, self.num_rows, self.total)


def write_rows(rows: Rows, file: IO[bytes], name: str) -> FileFacts:
    """Write rows (uint64[n, width], n > 0, each once) as a file."""
    writer = SortedWriter(file, *rows.shape)
    writer.write(in_order_of_rows(rows), writer.num_lines)
    return writer.end(name)


def merge(files: Sequence[SortedFile], file: IO[bytes], name: str, at_once: int = WORDS_AT_ONCE) -> FileFacts:
    """Write the rows of several files of one width, which have none in common, as one, about so many words at once.

    DamagedIndexError where one is damaged.
    """
    writer = SortedWriter(file, sum(other.facts.num_rows for other in files), files[0].facts.width)
    for rows, last_line in _stretches(files, writer, at_once // writer.width):
        writer.write(rows, last_line)
    if writer.total != sum(other.facts.total for other in files) % 2**64:
        raise DamagedIndexError(
            f"the rows of {', '.join(str(other.path) for other in files)} are not those that were written"
        )
    return writer.end(name)


def count_without(other: SortedFile, column: int, values: Words) -> int:
    """How many rows of a file have none of these values (in order) in a column. DamagedIndexError."""
    num, total = 0, 0
    for rows in _pieces(other):
        num, total = num + int((~_is_among(rows[:, column], values)).sum()), (total + sum_of(rows)) % 2**64
    if total != other.facts.total:
        raise DamagedIndexError(f"the rows of {other.path} are not those that were written")
    return num


def write_without(other: SortedFile, column: int, values: Words, num: int, file: IO[bytes], name: str) -> FileFacts:
    """Write the `num` > 0 rows of a file that have none of these values (in order) in a column."""
    writer = SortedWriter(file, num, other.facts.width)
    for rows, last_line in _stretches([other], writer, WORDS_AT_ONCE // writer.width):
        writer.write(rows[~_is_among(rows[:, column], values)], last_line)
    return writer.end(name)


def _pieces(other: SortedFile) -> Iterator[Rows]:
    """All rows of a file, some at once."""
    step = WORDS_AT_ONCE // other.facts.width
    for first in range(0, other.facts.num_rows, step):
        yield other.read(first, min(other.facts.num_rows, first + step))


def _is_among(column: Words, values: Words) -> Bools:
    """Which of a column are among values that are in order, at least one."""
    places = np.minimum(np.searchsorted(values, column), len(values) - 1)
    among: Bools = values[places] == column
    return among


def _stretches(files: Sequence[SortedFile], writer: SortedWriter, at_once: int) -> Iterator[tuple[Rows, int]]:
    """Sorted rows of all files, and the line of the new file that they reach up to (not included)."""
    lines_at_once = max(1, writer.num_lines * at_once // writer.num_rows)
    stands = [0] * len(files)
    while writer.line < writer.num_lines:
        last_line = min(writer.num_lines, writer.line + lines_at_once)
        ends = [other.below(first_key(last_line, writer.num_lines)) for other in files]
        parts = [other.read(stand, end) for other, stand, end in zip(files, stands, ends, strict=True) if stand < end]
        rows = np.concatenate([np.empty((0, writer.width), np.uint64), *parts])
        yield in_order_of_rows(rows), last_line
        stands = ends
