"""How do rows lie in a file, so that a million keys are asked in a millisecond and nothing of it is in memory?

Sorted by their keys, in one immutable file that is mapped; beside the rows are 1.8 bytes a row of lines that say where
to look (`data_ops/kernels/sorted_rows.py`). Opening costs the same whatever it holds. What is damaged is told when it
is read: a line carries a check of itself and of its rows.
"""

import mmap
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from data_ops.index.kept import DamagedIndexError
from data_ops.kernels.arrays import Bools, Ids, Ints, Words
from data_ops.kernels.sorted_rows import (
    HEADER,
    WORDS_A_LINE,
    Rows,
    ask_lines,
    extents,
    fill_lines,
    find_rows,
    header,
    look,
    lower,
    number_of_lines,
    sum_of,
)

WORD = 8  # bytes
SAMPLE = 16  # keys that are looked up before the pages of all others are asked for at once
WIDTHS = {"ids": 2, "bands": 2, "sketches": 15}  # words of a row, by what the name of the file ends with


class FileFacts(msgspec.Struct, frozen=True):
    """A file's name, how many rows it holds, and the sum of their hashes."""

    name: str
    num_rows: int = msgspec.field(name="num_ids")
    total: int

    @property
    def kind(self) -> str:
        """What its rows are: one of WIDTHS."""
        return self.name.rpartition(".")[2]

    @property
    def width(self) -> int:
        """Words of a row."""
        return WIDTHS[self.kind]

    @property
    def num_words(self) -> int:
        """How long the file is, in words of 8 bytes."""
        return rows_begin(number_of_lines(self.num_rows)) + self.width * self.num_rows


class SortedFile:
    """A file of sorted rows, open and mapped. It stays readable when its name is deleted."""

    def __init__(self, path: Path, facts: FileFacts) -> None:
        self.path, self.facts, self.num_lines = path, facts, number_of_lines(facts.num_rows)
        self._file = open(path, "rb")  # noqa: SIM115 - it goes with the object
        if (size := os.fstat(self._file.fileno()).st_size) != WORD * facts.num_words:
            raise DamagedIndexError(f"{path} has {size} bytes, not {WORD * facts.num_words}")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self.words: Words = np.frombuffer(self._map, np.uint64)
        wanted = header(facts.num_rows, self.num_lines, facts.total, facts.width)
        if not np.array_equal(self.words[:HEADER], wanted):
            raise DamagedIndexError(f"{path} does not begin with what this version writes")

    @property
    def line_bytes(self) -> int:
        """The part that every question touches."""
        return WORD * WORDS_A_LINE * (self.num_lines + 1)

    @property
    def rows(self) -> Rows:
        """All rows, as they are mapped; nothing of them is checked."""
        return self.words[rows_begin(self.num_lines) :].reshape(-1, self.facts.width)

    def contains(self, ids: Ids) -> Bools:
        """Say which rows of two words are in the file; fast where they are in order. DamagedIndexError."""
        found = np.zeros(len(ids), np.bool_)
        maybe, bounds = self._ask(np.ascontiguousarray(ids[:, 0]))
        for part in self._parts(bounds):
            if not look(self.words, self.num_lines, ids, maybe[part], bounds[part], found):
                raise self._damaged()
        return found

    def find(self, keys: Words, limit: int) -> tuple[Ints, Ints]:
        """Find at most `limit` rows a key, those with the smallest second words: numbers of keys, and of their rows.

        keys: in order, or it is slow. Raises DamagedIndexError if what is read is damaged.
        """
        maybe, bounds = self._ask(keys)
        places = np.zeros((len(maybe), 2), np.int64)
        for part in self._parts(bounds):
            if not find_rows(
                self.words, self.facts.width, self.num_lines, keys, maybe[part], bounds[part], places[part]
            ):
                raise self._damaged()
        num = np.minimum(places[:, 1] - places[:, 0], limit)
        begins = np.cumsum(num) - num
        return np.repeat(maybe, num), np.arange(num.sum()) + np.repeat(places[:, 0] - begins, num)

    def check(self) -> None:
        """Read everything; DamagedIndexError if any of it is not what was written."""
        begin = rows_begin(self.num_lines)
        lines = np.zeros(begin - HEADER, np.uint64)
        fits = fill_lines(self.rows, 0, lines, 0, self.num_lines) and sum_of(self.rows) == self.facts.total
        if not fits or not np.array_equal(lines, self.words[HEADER:begin]):
            raise self._damaged()

    def read(self, first: int, last: int) -> Rows:
        """Rows number first to last (not included). Not through the map, which is told not to read ahead."""
        width = self.facts.width
        place, size = WORD * (rows_begin(self.num_lines) + width * first), WORD * width * (last - first)
        data = os.pread(self._file.fileno(), size, place)
        if len(data) != size:
            raise self._damaged()
        return np.frombuffer(data, np.uint64).reshape(-1, width)

    def below(self, key: int) -> int:
        """How many rows have a key below `key`."""
        if key >= 1 << 64:
            return self.facts.num_rows
        return int(lower(self.words, self.facts.width, self.num_lines, self.facts.num_rows, np.uint64(key)))

    def _ask(self, keys: Words) -> tuple[Ints, Ints]:
        """The numbers of the keys that may be here, and which rows their lines hold (int64[m, 2])."""
        maybe = np.empty(len(keys) + 1, np.int64)
        if (num := ask_lines(self.words, self.num_lines, keys, maybe)) < 0:
            raise self._damaged()
        bounds = np.empty((num, 2), np.int64)
        if not extents(self.words, self.num_lines, self.facts.num_rows, keys, maybe[:num], bounds):
            raise self._damaged()
        return maybe[:num], bounds

    def _parts(self, bounds: Ints) -> Iterator[slice]:
        """The parts in which rows are looked at; where the first few are waited for, all others are fetched at once."""
        waits = _page_waits()
        yield slice(SAMPLE)
        if _page_waits() > waits:
            self._fetch(bounds[SAMPLE:])
        yield slice(SAMPLE, None)

    def _fetch(self, bounds: Ints) -> None:
        """Ask the disk for these rows at once, instead of one after the other."""
        places = WORD * rows_begin(self.num_lines) + WORD * self.facts.width * bounds
        places[:, 0] &= -mmap.PAGESIZE
        for place, end in places.tolist():
            if place < end:
                self._map.madvise(mmap.MADV_WILLNEED, place, end - place)

    def _damaged(self) -> DamagedIndexError:
        return DamagedIndexError(f"{self.path} is damaged")


def rows_begin(num_lines: int) -> int:
    """The word with which the rows begin."""
    return HEADER + WORDS_A_LINE * (num_lines + 1)


def _page_waits() -> int:
    """How often this thread waited for the disk; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt if sys.platform == "linux" else 0
