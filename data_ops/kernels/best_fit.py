"""Which row takes each document, longest first into the tightest row, millions of times a second?

Documents are sorted by counting; rows with equal room are a stack, and a two-level bitmap of rooms finds the tightest
that fits in a few instructions. The rows found are exactly those of plain best-fit decreasing, without its search.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_ops.kernels.arrays import Ints
from data_ops.kernels.bits import trailing_zeros

Tokens = NDArray[np.int32]


@njit(inline="always")
def _set(bits: NDArray[np.uint64], words: NDArray[np.uint64], room: int) -> None:
    bits[room >> 6] |= np.uint64(1) << np.uint64(room & 63)
    words[room >> 12] |= np.uint64(1) << np.uint64((room >> 6) & 63)


@njit(inline="always")
def _clear(bits: NDArray[np.uint64], words: NDArray[np.uint64], room: int) -> None:
    bits[room >> 6] &= ~(np.uint64(1) << np.uint64(room & 63))
    if bits[room >> 6] == 0:
        words[room >> 12] &= ~(np.uint64(1) << np.uint64((room >> 6) & 63))


@njit(inline="always")
def _least(bits: NDArray[np.uint64], words: NDArray[np.uint64], room: int) -> int:
    """The smallest marked number >= room, or -1. Bit 77 stands in bits[1], bit 13; words[0] has bit 1 set then."""
    here = bits[room >> 6] >> np.uint64(room & 63)
    if here != 0:
        return room + int(trailing_zeros(here))
    after = (room >> 6) + 1
    if after >= len(bits):
        return -1
    word = after >> 6
    here = words[word] >> np.uint64(after & 63) << np.uint64(after & 63)
    while here == 0:
        word += 1
        if word == len(words):
            return -1
        here = words[word]
    group = word * 64 + int(trailing_zeros(here))
    return group * 64 + int(trailing_zeros(bits[group]))


@njit(cache=True, nogil=True)
def _longest_first(rest: Tokens, row_tokens: int) -> tuple[Tokens, Ints]:
    """Numbers of the documents with a rest, by decreasing rest, then by number: a counting sort.

    Documents of rest r stand at ends[row_tokens-r-1] .. ends[row_tokens-r]; those without one are left out.
    """
    ends = np.zeros(row_tokens + 2, np.int64)
    for document in range(len(rest)):
        ends[row_tokens - rest[document] + 1] += 1
    for bucket in range(row_tokens + 1):
        ends[bucket + 1] += ends[bucket]
    order = np.empty(ends[row_tokens], np.int32)
    for document in range(len(rest)):
        if rest[document]:
            bucket = row_tokens - rest[document]
            order[ends[bucket]] = document  # ends[bucket] moves from where the bucket begins to where it ends
            ends[bucket] += 1
    return order, ends


@njit(cache=True, nogil=True)
def _place(ends: Ints, row_tokens: int) -> tuple[Tokens, int]:
    """Row of each document, longest first; rows with equal room are a linked stack."""
    bits = np.zeros((row_tokens >> 6) + 1, np.uint64)
    words = np.zeros((row_tokens >> 12) + 1, np.uint64)
    top = np.full(row_tokens + 1, -1, np.int32)
    below = np.empty(ends[row_tokens - 1], np.int32)
    row_of = np.empty(ends[row_tokens - 1], np.int32)
    num_rows = 0
    i = 0
    for bucket in range(1, row_tokens):
        length = row_tokens - bucket
        while i < ends[bucket]:
            room = _least(bits, words, length)
            if room < 0:
                row, room = num_rows, row_tokens
                num_rows += 1
            else:
                row = top[room]
                top[room] = below[row]
                if top[room] < 0:
                    _clear(bits, words, room)
            row_of[i] = row
            i += 1
            room -= length
            if room > 0:
                below[row] = top[room]
                top[room] = row
                _set(bits, words, room)
    return row_of, num_rows


@njit(cache=True, nogil=True)
def best_fit(lengths: Ints, row_tokens: int) -> tuple[Ints, Ints, Ints, Ints, Ints, int]:
    """Return row, start, document, document start and length of every piece by (row, start), and the number of rows."""
    rest = np.empty(len(lengths), np.int32)  # what is left of a document after its full rows
    num_full = 0
    for i in range(len(lengths)):
        full = lengths[i] // row_tokens if lengths[i] >= row_tokens else 0
        num_full += full
        rest[i] = lengths[i] - full * row_tokens
    order, ends = _longest_first(rest, row_tokens)
    row_of, num_open = _place(ends, row_tokens)
    num = num_full + len(order)
    row, start, document = np.empty(num, np.int64), np.zeros(num, np.int64), np.empty(num, np.int64)
    document_start, size = np.zeros(num, np.int64), np.empty(num, np.int64)
    piece = 0
    for number in range(len(lengths)):
        for part in range(0, lengths[number] - row_tokens + 1, row_tokens):
            row[piece], document[piece], size[piece], document_start[piece] = piece, number, row_tokens, part
            piece += 1
    begin = np.zeros(num_open + 1, np.int64)
    for i in range(len(order)):
        begin[row_of[i] + 1] += 1
    for r in range(num_open):
        begin[r + 1] += begin[r]
    for i in range(len(order)):  # within a row, documents stand in the order in which they were placed
        document[num_full + begin[row_of[i]]] = order[i]
        begin[row_of[i]] += 1
    for r in range(num_open):  # begin[r] is where row r ends by now
        end = 0
        for piece in range(num_full + (begin[r - 1] if r else 0), num_full + begin[r]):
            number = document[piece]
            row[piece], start[piece], size[piece] = num_full + r, end, rest[number]
            document_start[piece] = lengths[number] - rest[number]
            end += rest[number]
    return row, start, document, document_start, size, num_full + num_open
