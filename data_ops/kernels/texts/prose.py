"""Of how many words and lines is a text made, and of which kinds are they?

What the filters of Gopher, C4 and FineWeb ask of a text, counted in one compiled pass over the UTF-8 bytes of a batch.
Words are what `str.split` gives, lines end at LF. Hashes of words and lines are left to `repeats.py`.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_ops.kernels.arrays import Ints, string_buffers
from data_ops.kernels.texts.code_points import LETTER, SPACE, SYMBOL, length_at, point_at, sort_of

STOP_WORDS = (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")  # Gopher, appendix A.1.1
HASH, STOP, DASH, BULLET, ELLIPSIS = 0x23, 0x2E, 0x2D, 0x2022, 0x2026
#: Marks that end a sentence, in any script: code points and ranges of them that Unicode calls Sentence_Terminal.
SENTENCE_TERMINAL = """
21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6
17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049
2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB
FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143
111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642
1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5
16B37-16B38 16B44 16E98 1BC9F 1DA88
"""


class Prose(NamedTuple):
    """Counts of n texts, int64[n] each."""

    chars: Ints  # code points
    newlines: Ints
    words: Ints
    plain_words: Ints  # words that are not symbols alone
    plain_chars: Ints  # code points of those
    letter_words: Ints  # words with a letter
    stop_words: Ints  # how many of STOP_WORDS occur
    hashes: Ints  # number signs
    ellipses: Ints  # three full stops, or the one character
    bullet_lines: Ints  # that begin with a dash or a bullet
    ellipsis_lines: Ints
    full_lines: Ints  # that are not empty
    short_lines: Ints  # of those, with 30 characters at most
    ended_lines: Ints  # of those, with a mark that ends a sentence


def prose(texts: pa.Array) -> Prose:
    """Count the words and lines of every text of a string array without nulls."""
    offsets, data = string_buffers(texts)
    counts = np.zeros((len(Prose._fields), len(texts)), dtype=np.int64)
    source = np.frombuffer(data, dtype=np.uint8)
    source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
    _measure(source, offsets, _packed(STOP_WORDS), _terminal(), counts)
    return Prose(*counts)


def _packed(words: tuple[bytes, ...]) -> npt.NDArray[np.uint64]:
    """Short words as numbers, a byte each 8 bits."""
    return np.array([int.from_bytes(word, "little") for word in words], dtype=np.uint64)


@cache
def _terminal() -> npt.NDArray[np.uint32]:
    ranges = [tuple(int(end, 16) for end in part.split("-")) for part in SENTENCE_TERMINAL.split()]
    return np.array([point for ends in ranges for point in range(ends[0], ends[-1] + 1)], dtype=np.uint32)


@njit(cache=True)
def _measure(data, offsets, stop_words, terminal, counts):  # type: ignore[no-untyped-def]
    for row in range(len(offsets) - 1):
        _words(data, offsets[row], offsets[row + 1], stop_words, counts[:, row])
        _lines(data, offsets[row], offsets[row + 1], terminal, counts[:, row])


@njit(cache=True)
def _words(data, start, end, stop_words, count):  # type: ignore[no-untyped-def]
    words = plain = plain_chars = lettered = hashes = ellipses = chars = 0
    found, packed = np.uint64(0), np.uint64(0)
    length = dots = 0
    is_plain = has_letter = False
    i = start
    while i <= end:
        point = point_at(data, i) if i < end else np.uint32(32)
        kind = sort_of(point)
        if kind == SPACE:
            if length > 0:
                words += 1
                plain += is_plain
                plain_chars += length if is_plain else 0
                lettered += has_letter
                if length <= 4:
                    for k in range(len(stop_words)):
                        found |= np.uint64(stop_words[k] == packed) << np.uint64(k)
            length, packed = 0, np.uint64(0)
            is_plain = has_letter = False
        else:
            packed |= (
                np.uint64(point) << np.uint64(8 * (length if length < 7 else 7))
                if point < 0x80
                else np.uint64(1) << np.uint64(63)
            )
            length += 1
            is_plain |= kind != SYMBOL
            has_letter |= kind == LETTER
        hashes += point == HASH
        dots = dots + 1 if point == STOP else 0
        ellipses += point == ELLIPSIS or dots == 3
        dots = 0 if dots == 3 else dots
        chars += 1
        i += length_at(data, i) if i < end else 1
    stops = 0
    for k in range(len(stop_words)):
        stops += (found >> np.uint64(k)) & np.uint64(1) != 0
    count[0], count[2], count[3], count[4] = chars - 1, words, plain, plain_chars
    count[5], count[6], count[7], count[8] = lettered, stops, hashes, ellipses


@njit(cache=True)
def _lines(data, start, end, terminal, count):  # type: ignore[no-untyped-def]
    newlines = bullets = dotted = full = short = ended = 0
    length = 0
    first = last = before = third = np.uint32(
        0
    )  # of the line: its first character that is not white space, and its last
    is_full = False
    i = start
    while i <= end:
        point = point_at(data, i) if i < end else np.uint32(10)
        if point == 10:
            newlines += 1
            if is_full:
                full += 1
                short += 1 if length <= 30 else 0
                bullets += 1 if first in (DASH, BULLET) else 0
                dotted += 1 if last == ELLIPSIS or (last == STOP and before == STOP and third == STOP) else 0
                at = np.searchsorted(terminal, last)
                ended += 1 if at < len(terminal) and terminal[at] == last else 0
            length, is_full = 0, False
            first = last = before = third = np.uint32(0)
        else:
            length += 1
            if sort_of(point) != SPACE and not is_full:
                first, is_full = point, True
            third, before, last = before, last, point
        i += length_at(data, i) if i < end else 1
    count[1], count[9], count[10] = newlines - 1, bullets, dotted
    count[11], count[12], count[13] = full, short, ended
