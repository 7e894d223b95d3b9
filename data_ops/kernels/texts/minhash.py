"""How alike are two texts? Their MinHash signatures agree in about the share of the word sequences that both have.

Broder 1997: of every one of 112 random orders of all sequences of five words, a text keeps the first it has. A
signature keeps eight bits a hash (Li and König 2010); fourteen bands of eight hashes find the pairs worth comparing. A
text of fewer words is one sequence.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import xxhash
from numba import njit

from data_ops.kernels.arrays import Bytes, Words, string_buffers
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.texts.word_hashes import FACTOR, hash_words

NUM_HASHES, NUM_BANDS = 112, 14
WORDS_TOGETHER = 5
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


def sketch_version() -> str:
    """What tells sketches of this version from those of another one: they are not to be compared."""
    found = minhash(pa.array(["Two texts are alike.", "", "é 水车 7, " * 9]))
    return xxhash.xxh3_64_hexdigest(found.signatures.tobytes() + found.bands.tobytes())


@njit(cache=True)
def _sketch(data, offsets, scale, shift, signatures, bands):  # type: ignore[no-untyped-def]
    minima, hashes = np.empty(len(scale), np.uint32), np.empty(1024, np.uint64)
    width = len(minima) // bands.shape[1]
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        if (end - start) // 2 + 1 > len(hashes):
            hashes = np.empty(end - start + 1, np.uint64)
        words = hash_words(data, start, end, hashes)
        minima[:] = np.uint32(0xFFFFFFFF)
        together = min(words, WORDS_TOGETHER)
        for at in range(words - together + 1):
            _take(hashes, at, together, scale, shift, minima)
        for band in range(bands.shape[1]):
            key = np.uint64(band + 1)
            for k in range(band * width, (band + 1) * width):
                key = mix64_scalar(key * FACTOR ^ np.uint64(minima[k]))
            bands[row, band] = key
        for k in range(len(minima)):
            signatures[row, k] = np.uint8(minima[k] & np.uint32(0xFF))


@njit(cache=True)
def _take(hashes, at, together, scale, shift, minima):  # type: ignore[no-untyped-def]
    """Let one sequence of words lower the minima."""
    value = np.uint64(together)
    for k in range(at, at + together):
        value = value * FACTOR + hashes[k]
    x = np.uint32(mix64_scalar(value) >> np.uint64(32))
    for k in range(len(minima)):  # every product is cast: numba would widen it to 64 bits
        v = np.uint32(np.uint32(x ^ shift[k]) * scale[k])
        v = np.uint32(np.uint32(v ^ (v >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
        v = np.uint32(v ^ (v >> np.uint32(12)))
        minima[k] = min(minima[k], v)
