"""What are the words of a text, as numbers?

Words are lowered (ASCII) and parted by what is no letter or digit; of scripts without spaces, each character is a word.
So case, marks and line ends do not tell two texts apart.
"""

import numpy as np
from numba import njit

from data_ops.kernels.arrays import Bytes, Words
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.texts.code_points import DIGIT, length_at, point_at, sort_of

FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: of a polynomial hash


@njit(cache=True)
def hash_words(data: Bytes, start: int, end: int, hashes: Words) -> int:
    """Write a number for each word of data[start:end]; return how many. hashes: of (end - start) // 2 + 1 or more."""
    words, value, is_word = 0, np.uint64(0), False
    i = start
    while i <= end:
        point = point_at(data, i) if i < end else np.uint32(32)
        belongs = sort_of(point) <= DIGIT  # or a letter
        alone = belongs and _stands_alone(point)
        if is_word and (alone or not belongs):
            hashes[words] = mix64_scalar(value)
            words += 1
            value, is_word = np.uint64(0), False
        if belongs:
            low = point | np.uint32(32) if 65 <= point <= 90 else point
            value, is_word = (value ^ np.uint64(low)) * FACTOR, True
        if alone:
            hashes[words] = mix64_scalar(value)
            words += 1
            value, is_word = np.uint64(0), False
        i += length_at(data, i) if i < end else 1
    return words


@njit(inline="always")
def _stands_alone(point):  # type: ignore[no-untyped-def]
    """Whether a character is of a script that puts no spaces between words: Han, kana, Thai, Lao, Burmese, Khmer."""
    if point < 0x0E00:
        return False
    east = 0x3040 <= point < 0xA000 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x32000
    return east or point < 0x0F00 or 0x1000 <= point < 0x10A0 or 0x1780 <= point < 0x1800
