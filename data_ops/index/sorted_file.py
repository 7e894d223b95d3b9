"""How do ids lie in a file, so that a million of them are asked in a millisecond and nothing of it is in memory?

Sorted, in one immutable file that is mapped: 16 bytes an id, and 1.8 bytes of lines that say where to look
(`data_ops/kernels/sorted_ids.py`). Opening costs the same whatever it holds. What is damaged is told when it is read:
a line carries a check of itself and of its ids.
"""

import mmap
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from data_ops.index.kept import DamagedIndexError
from data_ops.kernels.arrays import Bools, Ids, Ints, Words
from data_ops.kernels.sorted_ids import (
    HEADER,
    WORDS_A_LINE,
    ask_lines,
    extents,
    fill_lines,
    first_key,
    header,
    in_order_of_ids,
    look,
    lower,
    number_of_lines,
    sum_of,
)

WORD = 8  # bytes
SAMPLE = 16  # ids that are looked up before the pages of all others are asked for at once
IDS_AT_ONCE = 1 << 19  # how many are in memory while files are merged
SYNC_BYTES = 64 << 20  # what is written between two syncs, so that the last one is short


class FileFacts(msgspec.Struct, frozen=True):
    """A file's name, how many ids it holds, and the sum of their hashes."""

    name: str
    num_ids: int
    total: int

    @property
    def num_words(self) -> int:
        """How long the file is, in words of 8 bytes."""
        return _ids_begin(number_of_lines(self.num_ids)) + 2 * self.num_ids


class SortedFile:
    """A file of sorted ids, open and mapped. It stays readable when its name is deleted."""

    def __init__(self, path: Path, facts: FileFacts) -> None:
        self.path, self.facts, self.num_lines = path, facts, number_of_lines(facts.num_ids)
        self._file = open(path, "rb")  # noqa: SIM115 - it goes with the object
        if (size := os.fstat(self._file.fileno()).st_size) != WORD * facts.num_words:
            raise DamagedIndexError(f"{path} has {size} bytes, not {WORD * facts.num_words}")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self.words: Words = np.frombuffer(self._map, np.uint64)
        if not np.array_equal(self.words[:HEADER], header(facts.num_ids, self.num_lines, facts.total)):
            raise DamagedIndexError(f"{path} does not begin with what was written")

    @property
    def line_bytes(self) -> int:
        """The part that every question touches."""
        return WORD * WORDS_A_LINE * (self.num_lines + 1)

    def contains(self, ids: Ids) -> Bools:
        """Say which ids are in the file; fast where they are in order. DamagedIndexError if what is read is damaged."""
        found = np.zeros(len(ids), np.bool_)
        maybe = np.empty(len(ids) + 1, np.int64)
        if (num := ask_lines(self.words, self.num_lines, ids, maybe)) < 0:
            raise self._damaged()
        maybe = maybe[:num]
        bounds = np.empty((num, 2), np.int64)
        if not extents(self.words, self.num_lines, self.facts.num_ids, ids, maybe, bounds):
            raise self._damaged()
        waits = _page_waits()
        for part in (slice(SAMPLE), slice(SAMPLE, None)):
            if part.start and _page_waits() > waits:  # the first ones had to be fetched from the disk
                self._fetch(bounds[part])
            if not look(self.words, self.num_lines, ids, maybe[part], bounds[part], found):
                raise self._damaged()
        return found

    def check(self) -> None:
        """Read everything; DamagedIndexError if any of it is not what was written."""
        begin = _ids_begin(self.num_lines)
        ids, lines = self.words[begin:].reshape(-1, 2), np.zeros(begin - HEADER, np.uint64)
        fits = fill_lines(ids, 0, lines, 0, self.num_lines) and int(sum_of(ids)) == self.facts.total
        if not fits or not np.array_equal(lines, self.words[HEADER:begin]):
            raise self._damaged()

    def read(self, first: int, last: int) -> Ids:
        """Ids number first to last (not included). Not through the map, which is told not to read ahead."""
        place, size = WORD * (_ids_begin(self.num_lines) + 2 * first), 2 * WORD * (last - first)
        data = os.pread(self._file.fileno(), size, place)
        if len(data) != size:
            raise self._damaged()
        return np.frombuffer(data, np.uint64).reshape(-1, 2)

    def below(self, key: int) -> int:
        """How many ids have a high word below `key`."""
        if key >= 1 << 64:
            return self.facts.num_ids
        return int(lower(self.words, self.num_lines, self.facts.num_ids, np.uint64(key)))

    def _fetch(self, bounds: Ints) -> None:
        """Ask the disk for these ids at once, instead of one after the other."""
        places = WORD * _ids_begin(self.num_lines) + 2 * WORD * bounds
        places[:, 0] &= -mmap.PAGESIZE
        for place, end in places.tolist():
            if place < end:
                self._map.madvise(mmap.MADV_WILLNEED, place, end - place)

    def _damaged(self) -> DamagedIndexError:
        return DamagedIndexError(f"{self.path} is damaged")


class SortedWriter:
    """Writes a file of so many ids from front to back, in stretches of whole lines."""

    def __init__(self, file: IO[bytes], num_ids: int) -> None:
        self.file, self.num_ids, self.num_lines = file, num_ids, number_of_lines(num_ids)
        self.line = self.num_written = self.total = self._unsynced = 0

    def write(self, ids: Ids, last_line: int) -> None:
        """Write the sorted ids of the lines from where the writer stands to `last_line` (not included).

        DamagedIndexError where they do not belong there.
        """
        at_the_end = last_line == self.num_lines
        lines = np.zeros(WORDS_A_LINE * (last_line - self.line + at_the_end), np.uint64)
        fits = fill_lines(ids, self.num_written, lines, self.line, self.num_lines)
        if not fits or self.num_written + len(ids) > self.num_ids:
            raise DamagedIndexError(f"ids {self.num_written} and so on are not in order")
        for place, words in (
            (HEADER + WORDS_A_LINE * self.line, lines),
            (_ids_begin(self.num_lines) + 2 * self.num_written, ids),
        ):
            self.file.seek(WORD * place)
            self.file.write(np.ascontiguousarray(words).reshape(-1).view(np.uint8).data)
        self.total = (self.total + int(sum_of(ids))) % 2**64
        self.line, self.num_written, self._unsynced = (
            last_line,
            self.num_written + len(ids),
            self._unsynced + ids.nbytes,
        )
        if self._unsynced > SYNC_BYTES:
            self.file.flush()
            os.fsync(self.file.fileno())
            self._unsynced = 0

    def end(self, name: str) -> FileFacts:
        """Write the beginning, when all ids are there."""
        if self.num_written != self.num_ids:
            raise DamagedIndexError(f"{self.num_written} of {self.num_ids} ids are there")
        self.file.seek(0)
        self.file.write(header(self.num_ids, self.num_lines, self.total).tobytes())
        return FileFacts(name, self.num_ids, self.total)


def write_ids(ids: Ids, file: IO[bytes], name: str) -> FileFacts:
    """Write ids (uint64[n, 2], n > 0, each once) as a file."""
    writer = SortedWriter(file, len(ids))
    writer.write(np.ascontiguousarray(ids[in_order_of_ids(ids)]), writer.num_lines)
    return writer.end(name)


def merge(files: Sequence[SortedFile], file: IO[bytes], name: str, at_once: int = IDS_AT_ONCE) -> FileFacts:
    """Write the ids of several files, which have none in common, as one, about so many at once.

    DamagedIndexError where one is damaged.
    """
    writer = SortedWriter(file, sum(other.facts.num_ids for other in files))
    for ids, last_line in _stretches(files, writer, at_once):
        writer.write(ids, last_line)
    if writer.total != sum(other.facts.total for other in files) % 2**64:
        raise DamagedIndexError(
            f"the ids of {', '.join(str(other.path) for other in files)} are not those that were written"
        )
    return writer.end(name)


def _stretches(files: Sequence[SortedFile], writer: SortedWriter, at_once: int) -> Iterator[tuple[Ids, int]]:
    """Sorted ids of all files, and the line of the new file that they reach up to (not included)."""
    lines_at_once = max(1, writer.num_lines * at_once // writer.num_ids)
    stands = [0] * len(files)
    while writer.line < writer.num_lines:
        last_line = min(writer.num_lines, writer.line + lines_at_once)
        ends = [other.below(first_key(last_line, writer.num_lines)) for other in files]
        parts = [other.read(stand, end) for other, stand, end in zip(files, stands, ends, strict=True) if stand < end]
        ids = np.concatenate([np.empty((0, 2), np.uint64), *parts])
        yield np.ascontiguousarray(ids[in_order_of_ids(ids)]), last_line
        stands = ends


def _ids_begin(num_lines: int) -> int:
    """The word with which the ids begin."""
    return HEADER + WORDS_A_LINE * (num_lines + 1)


def _page_waits() -> int:
    """How often this thread waited for the disk; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt if sys.platform == "linux" else 0
