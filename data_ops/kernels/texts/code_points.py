"""What is the next character of a text, and of which kind is it?

UTF-8 as it lies in an Arrow array, read in compiled code. Kinds are coarse, by blocks: no tables, any script.
"""

import numpy as np
from numba import njit

from data_ops.kernels.arrays import Bytes

LETTER, DIGIT, SPACE, SYMBOL = 0, 1, 2, 3


@njit(inline="always")
def length_at(data: Bytes, i: int) -> int:
    """Bytes of the character that begins at data[i]."""
    byte = data[i]
    return 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4


@njit(inline="always")
def point_at(data: Bytes, i: int) -> np.uint32:
    """The code point of the character that begins at data[i]."""
    byte = np.uint32(data[i])
    if byte < 0x80:
        return byte
    if byte < 0xE0:
        return ((byte & np.uint32(0x1F)) << np.uint32(6)) | np.uint32(data[i + 1] & 0x3F)
    second = np.uint32(data[i + 1] & 0x3F)
    third = np.uint32(data[i + 2] & 0x3F)
    if byte < 0xF0:
        return ((byte & np.uint32(0x0F)) << np.uint32(12)) | (second << np.uint32(6)) | third
    high = ((byte & np.uint32(0x07)) << np.uint32(18)) | (second << np.uint32(12))
    return high | (third << np.uint32(6)) | np.uint32(data[i + 3] & 0x3F)


@njit(inline="always")
def sort_of(point: int) -> int:
    """LETTER, DIGIT, SPACE (where `str.split` cuts) or SYMBOL.

    Beyond ASCII a character is a letter unless its block holds punctuation, symbols or emoji.
    """
    if point < 0x80:
        if 97 <= (point | 32) <= 122:
            return LETTER
        if 48 <= point <= 57:
            return DIGIT
        return SPACE if point <= 32 else SYMBOL
    if point == 0xA0 or point == 0x1680 or point == 0x3000 or 0x2000 <= point <= 0x200A:
        return SPACE
    if point == 0x2028 or point == 0x2029 or point == 0x202F or point == 0x205F or point == 0x85:
        return SPACE
    symbol = point < 0xC0 or 0x2000 <= point < 0x2C00 or 0x3000 <= point < 0x3040 or 0xFF00 <= point < 0xFF21
    return SYMBOL if symbol or 0xE000 <= point < 0xF900 or 0x1F000 <= point < 0x20000 else LETTER
