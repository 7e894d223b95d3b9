"""How much of a text says again what it said before: paragraphs, lines, and runs of words?

The measures of Gopher (Rae et al. 2021, table A1), in the reading of datatrove: of the most frequent run of 2 to 4
words, the characters of all its occurrences; of runs of 5 to 10 words, the characters of those met before, from left to
right and without overlap. Hashes of 64 bits stand for words and lines, in one table that a generation number empties.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from data_ops.kernels.arrays import Bytes, Ints, string_buffers
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.texts.code_points import SPACE, length_at, point_at, sort_of

MOST_WORDS = 1 << 20  # a text is looked at up to here; memory is bounded by it
M1 = np.uint64(0x9E3779B97F4A7C15)  # odd: a polynomial hash


class Pieces(NamedTuple):
    """Lines and paragraphs of n texts that are not empty, and those there before; int64[n], in code points."""

    paragraphs: Ints
    repeated_paragraphs: Ints
    repeated_paragraph_chars: Ints
    lines: Ints
    repeated_lines: Ints
    repeated_line_chars: Ints


class Runs(NamedTuple):
    """Characters of n texts that lie in runs of words, and characters of the part that was looked at."""

    top: Ints  # int64[3, n]: of the most frequent run of 2, 3, 4 words
    duplicate: Ints  # int64[6, n]: of runs of 5 to 10 words that were met before
    chars: Ints  # int64[n]


def pieces(texts: pa.Array) -> Pieces:
    """Measure the lines and paragraphs of every text of a string array without nulls."""
    counts = np.zeros((len(texts), 6), dtype=np.int64)
    _measure_pieces(*_bytes(texts), counts)
    return Pieces(*np.ascontiguousarray(counts.T))


def runs(texts: pa.Array) -> Runs:
    """Measure the runs of words of every text of a string array without nulls."""
    counts = np.zeros((len(texts), 10), dtype=np.int64)
    _measure_runs(*_bytes(texts), counts)
    figures = np.ascontiguousarray(counts.T)
    return Runs(figures[:3], figures[3:9], figures[9])


def _bytes(texts: pa.Array) -> tuple[Bytes, Ints]:
    offsets, data = string_buffers(texts)
    source = np.frombuffer(data, dtype=np.uint8)
    source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
    return source, offsets


@njit(cache=True)
def _measure_pieces(data, offsets, counts):  # type: ignore[no-untyped-def]
    keys, ages, age = np.empty(4096, np.uint64), np.zeros(4096, np.uint32), np.uint32(0)
    for row in range(len(offsets) - 1):
        lines = 1
        for i in range(offsets[row], offsets[row + 1]):
            lines += data[i] == 10
        size = len(keys)
        while size < 4 * lines:
            size *= 2
        if size > len(keys):
            keys, ages, age = np.empty(size, np.uint64), np.zeros(size, np.uint32), np.uint32(0)
        age += np.uint32(1)
        _pieces(data, offsets[row], offsets[row + 1], keys, ages, age, counts[row])


@njit(cache=True)
def _measure_runs(data, offsets, counts):  # type: ignore[no-untyped-def]
    hashes, lengths = np.empty(1024, np.uint64), np.empty(1024, np.int32)
    values, spans = np.empty(1024, np.uint64), np.empty(1024, np.int32)  # of the run that begins at each word
    keys, ages, age = np.empty(4096, np.uint64), np.zeros(4096, np.uint32), np.uint32(0)
    times, firsts = np.empty(4096, np.int32), np.empty(4096, np.int32)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        most = min((end - start) // 2 + 1, MOST_WORDS)
        if most > len(hashes):
            hashes, lengths = np.empty(2 * most, np.uint64), np.empty(2 * most, np.int32)
            values, spans = np.empty(2 * most, np.uint64), np.empty(2 * most, np.int32)
        words, chars = _split(data, start, end, hashes, lengths)
        size = 16
        while size < 2 * words:
            size *= 2
        if size > len(keys):
            keys, ages, age = np.empty(size, np.uint64), np.zeros(size, np.uint32), np.uint32(0)
            times, firsts = np.empty(size, np.int32), np.empty(size, np.int32)
        mine = keys[:size]  # a small text stays in the fast cache
        values[:words], spans[:words] = hashes[:words], lengths[:words]
        for n in range(2, 11):
            for at in range(words - n + 1):
                values[at] = values[at] * M1 + hashes[at + n - 1]
                spans[at] += lengths[at + n - 1]
            age += np.uint32(1)
            runs = max(words - n + 1, 0)
            if n < 5:
                counts[row, n - 2] = _most_frequent(values[:runs], spans, n, mine, ages, age, times, firsts)
            else:
                counts[row, n - 2] = _met_before(values[:runs], spans, n, mine, ages, age)
        counts[row, 9] = chars


@njit(inline="always")
def _slot(key, keys, ages, age):  # type: ignore[no-untyped-def]
    """The slot that holds the key in this generation, or the free one where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while ages[slot] == age and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def _split(data, start, end, hashes, lengths):  # type: ignore[no-untyped-def]
    """Hash the words; return how many there are, and the characters that were looked at."""
    words, length, value, chars = 0, 0, np.uint64(0), 0
    i = start
    while i <= end:
        point = point_at(data, i) if i < end else np.uint32(32)
        if sort_of(point) == SPACE:
            if length > 0:
                hashes[words], lengths[words] = mix64_scalar(value), length
                words += 1
                if words == MOST_WORDS:
                    return words, chars
            length, value = 0, np.uint64(0)
        else:
            value = (value ^ np.uint64(point)) * M1
            length += 1
        chars += i < end
        i += length_at(data, i) if i < end else 1
    return words, chars


@njit(cache=True)
def _pieces(data, start, end, keys, ages, age, count):  # type: ignore[no-untyped-def]
    """Count paragraphs and lines, and those met before; an empty line parts paragraphs."""
    line, paragraph = np.uint64(1), np.uint64(2)  # hashes; they share the table, so they begin apart
    line_chars, paragraph_chars, breaks = 0, 0, 0
    i = start
    while i < end:
        point = point_at(data, i)
        if point == 10:
            breaks += 1
            _note(line, line_chars, keys, ages, age, count[3:6])
            line, line_chars = np.uint64(1), 0
            if breaks == 2:
                _note(paragraph, paragraph_chars, keys, ages, age, count[0:3])
                paragraph, paragraph_chars = np.uint64(2), 0
        else:
            if breaks == 1 and paragraph_chars > 0:
                paragraph = (paragraph ^ np.uint64(10)) * M1
                paragraph_chars += 1
            breaks = 0
            line = (line ^ np.uint64(point)) * M1
            paragraph = (paragraph ^ np.uint64(point)) * M1
            line_chars += 1
            paragraph_chars += 1
        i += length_at(data, i)
    _note(line, line_chars, keys, ages, age, count[3:6])
    _note(paragraph, paragraph_chars, keys, ages, age, count[0:3])


@njit(inline="always")
def _note(value, chars, keys, ages, age, count):  # type: ignore[no-untyped-def]
    """Count one piece of text, unless it is empty."""
    if chars > 0:
        count[0] += 1
        key = mix64_scalar(value)
        slot = _slot(key, keys, ages, age)
        if ages[slot] == age:
            count[1] += 1
            count[2] += chars
        else:
            keys[slot], ages[slot] = key, age


@njit(cache=True)
def _most_frequent(values, spans, n, keys, ages, age, times, firsts):  # type: ignore[no-untyped-def]
    """Characters of all occurrences of the most frequent run, joined by spaces; of equal ones the first met counts."""
    best, best_first, best_chars = 0, 0, 0
    for at in range(len(values)):
        key = mix64_scalar(values[at])
        slot = _slot(key, keys, ages, age)
        if ages[slot] != age:
            keys[slot], ages[slot], times[slot], firsts[slot] = key, age, 0, at
        times[slot] += 1
        if times[slot] > best or (times[slot] == best and firsts[slot] < best_first):
            best, best_first, best_chars = times[slot], firsts[slot], spans[at] + n - 1
    return best * best_chars


@njit(cache=True)
def _met_before(values, spans, n, keys, ages, age):  # type: ignore[no-untyped-def]
    """Characters of runs met before, from left to right; behind one, the next begins with the word after it."""
    at, found = 0, 0
    while at < len(values):
        key = mix64_scalar(values[at])
        slot = _slot(key, keys, ages, age)
        if ages[slot] == age:
            found += spans[at]
            at += n
        else:
            keys[slot], ages[slot] = key, age
            at += 1
    return found
