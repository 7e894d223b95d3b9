"""Is a key among millions that lie sorted in a file, what stands behind it, and is that still what was written?

A row is `width` words: its key, a hash, and what stands behind the key. Rows are sorted by key, then by the second
word, and cut into *lines* by the high bits of their keys, about 36 to a line. Beside the rows each line has one cache
line of eight words: where its rows begin (40 bits) with a check of the words themselves (24 bits), a Bloom filter of
its keys in six words, and the sum of its rows' hashes. One cache miss says "not here" with an error of 1 %, or which
rows to read; and what is read is checked by that sum, so that nothing has to be read for its check alone. A file is

    8 words: MAGIC, rows, lines, sum, width, 0, 0, check | lines + 1 more, of 8 words | rows, of `width` words

The low bits of a key choose nothing here: they are left for dividing keys among several machines.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from data_ops.kernels.arrays import Bools, Ids, Ints, Words
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.mixing import GOLDEN, M1

U = np.uint64
ROWS_A_LINE = 36
WORDS_A_LINE = 8
HEADER = 8  # words
MAGIC = U(0x3153_574F_5244_5253)
FIRST_BITS, FIRST = U(40), U((1 << 40) - 1)
SIX, LOW_SIX, ONE, SPREAD, HALF = U(6), U(63), U(1), U(20), U(32)
Rows = npt.NDArray[np.uint64]  # [n, width]


def number_of_lines(num_rows: int) -> int:
    """Into how many lines so many rows are cut."""
    return max(1, num_rows // ROWS_A_LINE)


def header(num_rows: int, num_lines: int, total: int, width: int) -> Words:
    """The first words of a file."""
    words = np.array([MAGIC, num_rows, num_lines, total, width, 0, 0, 0], U)
    words[7] = sum_of(words[:6].reshape(-1, 2))
    return words


def first_key(line: int, num_lines: int) -> int:
    """The smallest key that belongs into a line or one behind it; 2^64 behind the last line."""
    return -(-(line << 32) // num_lines) << 32


def sum_of(rows: Rows) -> int:
    """The sum of the hashes of rows, mod 2^64: the same in whatever order, and additive."""
    return int(_sum(np.ascontiguousarray(rows).reshape(-1), 0, len(rows), rows.shape[1]))


def fill_lines(rows: Rows, first_row: int, lines: Words, first_line: int, num_lines: int) -> bool:
    """Write the lines (zeros of 8 words each) from `first_line` on, of sorted rows; the first is number `first_row`.

    False where a row belongs to none of these lines, or stands behind one of a later line.
    """
    flat = np.ascontiguousarray(rows).reshape(-1)
    return bool(_fill(flat, rows.shape[1], first_row, lines, first_line, num_lines))


@njit(inline="always")
def _line(key: np.uint64, num_lines: np.uint64) -> np.int64:
    return np.int64(((key >> HALF) * num_lines) >> HALF)  # it grows with the key: lines lie in the order of the rows


@njit(inline="always")
def _bits(key: np.uint64) -> np.uint64:
    return (key * GOLDEN) >> SPREAD  # six bits for each word of the filter


@njit(inline="always")
def _hash(words: Words, at: np.int64, width: int) -> np.uint64:
    folded = words[at]
    for j in range(1, width):
        folded = words[at + j] ^ (folded * GOLDEN)
    return mix64_scalar(folded)


@njit(inline="always")
def _check(words: Words, at: np.int64, line: np.int64) -> np.uint64:
    """24 bits over a line's words and its number: one changed bit always changes them, and zeros do not fit."""
    folded = (U(line) + ONE) * GOLDEN ^ (words[at] & FIRST)
    for j in range(1, 8):
        folded ^= words[at + j]
    return (folded * M1) >> FIRST_BITS


@njit(cache=True, nogil=True)
def _sum(words: Words, at: int, num_rows: int, width: int) -> np.uint64:
    total = U(0)
    for i in range(num_rows):
        total += _hash(words, at + width * i, width)
    return total


@njit(cache=True, nogil=True)
def _fill(flat: Words, width: int, first_row: int, lines: Words, first_line: int, num_lines: int) -> bool:
    room, at, num_rows = len(lines) // WORDS_A_LINE, 0, len(flat) // width
    for i in range(num_rows):
        key = flat[width * i]
        line = _line(key, U(num_lines)) - first_line
        if line < at - 1 or line >= room:
            return False
        while at <= line:
            lines[WORDS_A_LINE * at] = U(first_row + i)
            at += 1
        bits = _bits(key)
        for j in range(1, 7):
            lines[WORDS_A_LINE * line + j] |= ONE << (bits & LOW_SIX)
            bits >>= SIX
        lines[WORDS_A_LINE * line + 7] += _hash(flat, width * i, width)
    for line in range(room):
        if line >= at:
            lines[WORDS_A_LINE * line] = U(first_row + num_rows)
        lines[WORDS_A_LINE * line] |= _check(lines, WORDS_A_LINE * line, first_line + line) << FIRST_BITS
    return True


@njit(cache=True, nogil=True)
def ask_lines(words: Words, num_lines: int, keys: Words, maybe: Ints) -> np.int64:
    """Collect the numbers of the keys that the filters do not exclude; how many, or -1 where a line is damaged.

    keys: in order, so that lines are met in order. maybe: int64[n + 1].
    """
    some = np.int64(0)
    for i in range(len(keys)):
        line = _line(keys[i], U(num_lines))
        at, bits, all_set = HEADER + WORDS_A_LINE * line, _bits(keys[i]), ONE
        for j in range(1, 7):
            all_set &= words[at + j] >> (bits & LOW_SIX)
            bits >>= SIX
        if _check(words, at, line) != words[at] >> FIRST_BITS:
            return np.int64(-1)
        maybe[some] = i
        some += np.int64(all_set)
    return some


@njit(cache=True, nogil=True)
def extents(words: Words, num_lines: int, num_rows: int, keys: Words, maybe: Ints, bounds: Ints) -> bool:
    """Write which rows the lines of keys[maybe] hold (int64[m, 2]: from, to); False where a line is damaged."""
    for m in range(len(maybe)):
        line = _line(keys[maybe[m]], U(num_lines))
        at = HEADER + WORDS_A_LINE * (line + 1)
        if _check(words, at, line + 1) != words[at] >> FIRST_BITS:
            return False
        low, high = np.int64(words[at - WORDS_A_LINE] & FIRST), np.int64(words[at] & FIRST)
        if low > high or high > num_rows:
            return False
        bounds[m, 0], bounds[m, 1] = low, high
    return True


@njit(cache=True, nogil=True)
def look(words: Words, num_lines: int, ids: Ids, maybe: Ints, bounds: Ints, found: Bools) -> bool:
    """Say of ids[maybe] whether they are rows of two words in the file; False where the rows of a line are damaged."""
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
        # the filter was wrong, as one in a hundred times, or an id is not what was written
        line = HEADER + WORDS_A_LINE * _line(high, U(num_lines))
        if _sum(words, rows + 2 * bounds[m, 0], bounds[m, 1] - bounds[m, 0], 2) != words[line + 7]:
            return False
    return True


@njit(cache=True, nogil=True)
def find_rows(words: Words, width: int, num_lines: int, keys: Words, maybe: Ints, bounds: Ints, places: Ints) -> bool:
    """Write which rows have keys[maybe] (int64[m, 2]: from, to); False where the rows of a line are damaged.

    Rows of a line are summed up once for keys that follow one another, so many rows of one key cost a call once.
    """
    rows, checked = HEADER + WORDS_A_LINE * (num_lines + 1), np.int64(-1)
    for m in range(len(maybe)):
        key, (low, high) = keys[maybe[m]], (bounds[m, 0], bounds[m, 1])
        line = _line(key, U(num_lines))
        if line != checked:
            if _sum(words, rows + width * low, high - low, width) != words[HEADER + WORDS_A_LINE * line + 7]:
                return False
            checked = line
        for side in range(2):
            begin, end = low, high
            while begin < end:
                middle = (begin + end) >> 1
                other = words[rows + width * middle]
                if other < key or (side == 1 and other == key):
                    begin = middle + 1
                else:
                    end = middle
            places[m, side] = begin
    return True


@njit(cache=True, nogil=True)
def lower(words: Words, width: int, num_lines: int, num_rows: int, key: np.uint64) -> int:
    """The number of the first row whose key is not below `key`."""
    rows = HEADER + WORDS_A_LINE * (num_lines + 1)
    begin, end = 0, num_rows
    while begin < end:
        middle = (begin + end) >> 1
        if words[rows + width * middle] < key:
            begin = middle + 1
        else:
            end = middle
    return begin


def in_order_of_rows(rows: Rows) -> Rows:
    """Rows, sorted; fast where they are sorted pieces of hashes."""
    order = np.argsort(rows[:, 0], kind="stable")
    keys = rows[order, 0]
    equal = keys[1:] == keys[:-1]
    if equal.any():
        beside = np.zeros(len(rows), np.bool_)  # of an equal key: these are put in order anew among themselves
        beside[1:] |= equal
        beside[:-1] |= equal
        some = order[beside]
        order[beside] = some[np.lexsort((rows[some, 1], rows[some, 0]))]
    return _take(rows, order)


@njit(cache=True, nogil=True)
def _take(rows: Rows, order: Ints) -> Rows:
    """rows[order], which numpy takes four times as long for."""
    taken = np.empty_like(rows)
    for i in range(len(order)):
        for j in range(rows.shape[1]):
            taken[i, j] = rows[order[i], j]
    return taken
