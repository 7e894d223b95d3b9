"""What kinds of characters is a text made of?

One compiled pass over the UTF-8 bytes of a batch, SIMD for ASCII text. Beyond ASCII a character counts as a
letter unless its block holds punctuation, symbols or emoji: a coarse rule that needs no tables and suits any
script.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_ops.kernels.arrays import string_buffers


def character_counts(texts: pa.Array) -> npt.NDArray[np.int64]:
    """Count per text, as int64[4, n]: letters, digits, repeats of the one before, visible characters."""
    offsets, data = string_buffers(texts)
    counts = np.zeros((4, len(texts)), dtype=np.int64)
    source = np.frombuffer(data, dtype=np.uint8)
    source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
    _count(source, offsets, counts)
    return counts


@njit(cache=True)
def _count(data, offsets, counts):  # type: ignore[no-untyped-def]
    for row in range(len(offsets) - 1):
        letters = digits = repeated = visible = np.int64(0)
        high = before = np.uint8(0)
        for i in range(offsets[row], offsets[row + 1]):  # no branches, so that it becomes SIMD
            byte = data[i]
            letters += np.uint8((byte | 32) - 97) < 26
            digits += np.uint8(byte - 48) < 10
            visible += byte > 32
            repeated += (byte > 32) & (byte == before)
            before = byte
            high |= byte
        if high >= 128:
            letters, repeated, visible = _count_unicode(data, offsets[row], offsets[row + 1])
        counts[0, row], counts[1, row], counts[2, row], counts[3, row] = letters, digits, repeated, visible


@njit(cache=True)
def _count_unicode(data, start, end):  # type: ignore[no-untyped-def]
    """Walk UTF-8 characters; the blocks that are no letters are named in `symbol`."""
    letters = repeated = visible = np.int64(0)
    before = np.uint32(0)
    i = start
    while i < end:
        byte = data[i]
        i += 1
        point = np.uint32(byte)
        if byte < 128:
            letters += 97 <= (byte | 32) <= 122
        else:
            length = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            point = np.uint32(byte & (0x3F >> length))
            for _ in range(length):
                point = (point << 6) | np.uint32(data[i] & 0x3F)
                i += 1
            symbol = point < 0xC0 or 0x2000 <= point < 0x2C00 or 0x3000 <= point < 0x3040
            letters += not (symbol or 0xE000 <= point < 0xF900 or 0x1F000 <= point < 0x20000)
        visible += byte > 32
        repeated += byte > 32 and point == before
        before = point
    return letters, repeated, visible
