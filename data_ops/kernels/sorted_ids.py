"""Is an id among millions that lie sorted in a file, and is that file still what was written?

The ids of a file are cut into *lines* by their high bits, about 36 to a line. Beside the ids each line has one cache
line of eight words: where its ids begin (40 bits) with a check of the words themselves (24 bits), a Bloom filter of
six words, and the sum of its ids' hashes. One cache miss says "not here" with an error of 1 %, or which 600 bytes to
read; and what is read is checked by that, so that nothing has to be read for its check alone. A file is

    8 words: MAGIC, number of ids, number of lines, sum, 0, 0, 0, check | lines + 1 more, of 8 words | ids, of 2 words

The low bits of an id choose nothing here: they are left for dividing ids among several machines.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from data_ops.kernels.arrays import Bools, Ids, Ints, Words
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.mixing import GOLDEN, M1

U = np.uint64
IDS_A_LINE = 36
WORDS_A_LINE = 8
HEADER = 8  # words
MAGIC = U(0x3153_4449_4445_5253)
FIRST_BITS, FIRST = U(40), U((1 << 40) - 1)
SIX, LOW_SIX, ONE, SPREAD, HALF = U(6), U(63), U(1), U(20), U(32)


def number_of_lines(num_ids: int) -> int:
    """Into how many lines so many ids are cut."""
    return max(1, num_ids // IDS_A_LINE)


def header(num_ids: int, num_lines: int, total: int) -> Words:
    """The first words of a file."""
    words = np.array([MAGIC, num_ids, num_lines, total, 0, 0, 0, 0], U)
    words[7] = sum_of(words[:6].reshape(-1, 2))
    return words


def first_key(line: int, num_lines: int) -> int:
    """The smallest high word of an id that belongs into a line or one behind it; 2^64 behind the last line."""
    return -(-(line << 32) // num_lines) << 32


@njit(inline="always")
def _line(high: np.uint64, num_lines: np.uint64) -> np.int64:
    return np.int64(((high >> HALF) * num_lines) >> HALF)  # it grows with the id: lines lie in the order of the ids


@njit(inline="always")
def _bits(high: np.uint64, low: np.uint64) -> np.uint64:
    return ((high ^ low) * GOLDEN) >> SPREAD  # six bits for each word of the filter


@njit(inline="always")
def _hash(high: np.uint64, low: np.uint64) -> np.uint64:
    return mix64_scalar(low ^ (high * GOLDEN))


@njit(inline="always")
def _check(words: Words, at: np.int64, line: np.int64) -> np.uint64:
    """24 bits over a line's words and its number: one changed bit always changes them, and zeros do not fit."""
    folded = (U(line) + ONE) * GOLDEN ^ (words[at] & FIRST)
    for j in range(1, 8):
        folded ^= words[at + j]
    return (folded * M1) >> FIRST_BITS


@njit(cache=True, nogil=True)
def sum_of(ids: Ids) -> np.uint64:
    """The sum of the hashes of ids (uint64[n, 2]), mod 2^64: the same in whatever order, and additive."""
    total = U(0)
    for i in range(len(ids)):
        total += _hash(ids[i, 0], ids[i, 1])
    return total


@njit(cache=True, nogil=True)
def fill_lines(ids: Ids, first_id: int, lines: Words, first_line: int, num_lines: int) -> bool:
    """Write the lines (zeros of 8 words each) from `first_line` on, of sorted ids that are number `first_id` and so on.

    False where an id belongs to none of these lines, or stands behind one of a later line.
    """
    room, at = len(lines) // WORDS_A_LINE, 0
    for i in range(len(ids)):
        line = _line(ids[i, 0], U(num_lines)) - first_line
        if line < at - 1 or line >= room:
            return False
        while at <= line:
            lines[WORDS_A_LINE * at] = U(first_id + i)
            at += 1
        bits = _bits(ids[i, 0], ids[i, 1])
        for j in range(1, 7):
            lines[WORDS_A_LINE * line + j] |= ONE << (bits & LOW_SIX)
            bits >>= SIX
        lines[WORDS_A_LINE * line + 7] += _hash(ids[i, 0], ids[i, 1])
    for line in range(room):
        if line >= at:
            lines[WORDS_A_LINE * line] = U(first_id + len(ids))
        lines[WORDS_A_LINE * line] |= _check(lines, WORDS_A_LINE * line, first_line + line) << FIRST_BITS
    return True


@njit(cache=True, nogil=True)
def ask_lines(words: Words, num_lines: int, ids: Ids, maybe: Ints) -> np.int64:
    """Collect the numbers of the ids that the filters do not exclude; how many, or -1 where a line is damaged.

    ids: in order, so that lines are met in order. maybe: int64[n + 1].
    """
    some = np.int64(0)
    for i in range(len(ids)):
        line = _line(ids[i, 0], U(num_lines))
        at, bits, all_set = HEADER + WORDS_A_LINE * line, _bits(ids[i, 0], ids[i, 1]), ONE
        for j in range(1, 7):
            all_set &= words[at + j] >> (bits & LOW_SIX)
            bits >>= SIX
        if _check(words, at, line) != words[at] >> FIRST_BITS:
            return np.int64(-1)
        maybe[some] = i
        some += np.int64(all_set)
    return some


@njit(cache=True, nogil=True)
def extents(words: Words, num_lines: int, num_ids: int, ids: Ids, maybe: Ints, bounds: Ints) -> bool:
    """Write which ids of the file the lines of ids[maybe] hold (int64[m, 2]: from, to); False where one is damaged."""
    for m in range(len(maybe)):
        line = _line(ids[maybe[m], 0], U(num_lines))
        at = HEADER + WORDS_A_LINE * (line + 1)
        if _check(words, at, line + 1) != words[at] >> FIRST_BITS:
            return False
        low, high = np.int64(words[at - WORDS_A_LINE] & FIRST), np.int64(words[at] & FIRST)
        if low > high or high > num_ids:
            return False
        bounds[m, 0], bounds[m, 1] = low, high
    return True


@njit(cache=True, nogil=True)
def look(words: Words, num_lines: int, ids: Ids, maybe: Ints, bounds: Ints, found: Bools) -> bool:
    """Say of ids[maybe] whether they are in the file; False where the ids of a line are damaged."""
    rows = HEADER + WORDS_A_LINE * (num_lines + 1)
    for m in range(len(maybe)):
        high, low = ids[maybe[m], 0], ids[maybe[m], 1]
        begin, end = bounds[m, 0], bounds[m, 1]
        while begin < end:
            middle = (begin + end) >> 1
            other = words[rows + 2 * middle]
            if other < high or (other == high and words[rows + 2 * middle + 1] < low):
                begin = middle + 1
            else:
                end = middle
        at = rows + 2 * begin
        if begin < bounds[m, 1] and words[at] == high and words[at + 1] == low:
            found[maybe[m]] = True
            continue
        total = U(0)  # the filter was wrong, as one in a hundred times, or an id is not what was written
        for i in range(bounds[m, 0], bounds[m, 1]):
            total += _hash(words[rows + 2 * i], words[rows + 2 * i + 1])
        if total != words[HEADER + WORDS_A_LINE * _line(high, U(num_lines)) + 7]:
            return False
    return True


@njit(cache=True, nogil=True)
def lower(words: Words, num_lines: int, num_ids: int, key: np.uint64) -> int:
    """The number of the first id whose high word is not below `key`."""
    rows = HEADER + WORDS_A_LINE * (num_lines + 1)
    begin, end = 0, num_ids
    while begin < end:
        middle = (begin + end) >> 1
        if words[rows + 2 * middle] < key:
            begin = middle + 1
        else:
            end = middle
    return begin


def in_order_of_ids(ids: Ids) -> npt.NDArray[np.int64]:
    """Which row comes first, second and so on when ids are sorted; fast where they are sorted pieces of hashes."""
    order = np.argsort(ids[:, 0], kind="stable")
    high = ids[order, 0]
    if (high[1:] == high[:-1]).any():
        return np.lexsort((ids[:, 1], ids[:, 0]))
    return order
