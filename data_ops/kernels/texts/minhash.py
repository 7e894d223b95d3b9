"""How alike are two texts? Their MinHash signatures agree in about the share of the word sequences that both have.

Broder 1997: of every one of 112 random orders of all sequences of five words, a text keeps the first it has. Words are
lowered (ASCII) and parted by what is no letter or digit; of scripts without spaces, each character is a word. A
signature keeps eight bits a hash (Li and König 2010); fourteen bands of eight hashes find the pairs worth comparing.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from data_ops.kernels.arrays import Bytes, Words, string_buffers
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.texts.code_points import DIGIT, length_at, point_at, sort_of

NUM_HASHES, NUM_BANDS = 112, 14
WORDS_TOGETHER = 5
_M = np.uint64(0x9E3779B97F4A7C15)
_RANDOM = np.random.default_rng(0x5EED).integers(0, 2**32, (2, NUM_HASHES), dtype=np.uint64).astype(np.uint32)
_SCALE, _SHIFT = _RANDOM[0] | np.uint32(1), _RANDOM[1]


class Sketches(NamedTuple):
    """What is compared of n texts."""

    signatures: Bytes  # uint8[n, 112]
    bands: Words  # uint64[n, 14]; two texts that share one may be alike


def minhash(texts: pa.Array) -> Sketches:
    """Sketch every text of a string array without nulls; the same text gives the same sketch everywhere."""
    offsets, data = string_buffers(texts)
    source = np.frombuffer(data, dtype=np.uint8)
    source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
    signatures = np.empty((len(texts), NUM_HASHES), dtype=np.uint8)
    bands = np.empty((len(texts), NUM_BANDS), dtype=np.uint64)
    _sketch(source, offsets, _SCALE, _SHIFT, signatures, bands)
    return Sketches(signatures, bands)


@njit(cache=True)
def _sketch(data, offsets, scale, shift, signatures, bands):  # type: ignore[no-untyped-def]
    minima = np.empty(len(scale), np.uint32)
    for row in range(len(offsets) - 1):
        minima[:] = np.uint32(0xFFFFFFFF)
        _minima(data, offsets[row], offsets[row + 1], scale, shift, minima)
        width = len(minima) // bands.shape[1]
        for band in range(bands.shape[1]):
            key = np.uint64(band + 1)
            for k in range(band * width, (band + 1) * width):
                key = mix64_scalar(key * _M ^ np.uint64(minima[k]))
            bands[row, band] = key
        for k in range(len(minima)):
            signatures[row, k] = np.uint8(minima[k] & np.uint32(0xFF))


@njit(cache=True)
def _minima(data, start, end, scale, shift, minima):  # type: ignore[no-untyped-def]
    last = np.zeros(WORDS_TOGETHER, np.uint64)  # hashes of the last words
    words, value, is_word = 0, np.uint64(0), False
    i = start
    while i <= end:
        point = point_at(data, i) if i < end else np.uint32(32)
        belongs = sort_of(point) <= DIGIT  # or a letter
        alone = belongs and _stands_alone(point)
        if is_word and (alone or not belongs):
            last[words % WORDS_TOGETHER] = mix64_scalar(value)
            words += 1
            value, is_word = np.uint64(0), False
            if words >= WORDS_TOGETHER:
                _take(last, words, WORDS_TOGETHER, scale, shift, minima)
        if belongs:
            low = point | np.uint32(32) if 65 <= point <= 90 else point
            value, is_word = (value ^ np.uint64(low)) * _M, True
        i += length_at(data, i) if i < end else 1
    if words < WORDS_TOGETHER:
        _take(last, words, words, scale, shift, minima)


@njit(cache=True)
def _take(last, words, together, scale, shift, minima):  # type: ignore[no-untyped-def]
    """Let one sequence of words lower the minima."""
    value = np.uint64(together)
    for k in range(words - together, words):
        value = value * _M + last[k % WORDS_TOGETHER]
    x = np.uint32(mix64_scalar(value) >> np.uint64(32))
    for k in range(len(minima)):  # every product is cast: numba would widen it to 64 bits
        v = np.uint32(np.uint32(x ^ shift[k]) * scale[k])
        v = np.uint32(np.uint32(v ^ (v >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
        v = np.uint32(v ^ (v >> np.uint32(12)))
        minima[k] = min(minima[k], v)


@njit(inline="always")
def _stands_alone(point):  # type: ignore[no-untyped-def]
    """Whether a character is of a script that puts no spaces between words: Han, kana, Thai, Lao, Burmese, Khmer."""
    if point < 0x0E00:
        return False
    east = 0x3040 <= point < 0xA000 or 0xF900 <= point < 0xFB00 or 0x20000 <= point < 0x32000
    return east or point < 0x0F00 or 0x1000 <= point < 0x10A0 or 0x1780 <= point < 0x1800
