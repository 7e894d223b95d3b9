"""Which texts hold a sequence of words that is in a given set? Sequences go by 64-bit hashes, in one table."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numba import njit

from data_ops.kernels.arrays import Bools, Words, string_buffers
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.texts.word_hashes import FACTOR, hash_words


class Overlap:
    """The sequences of `num_words` words of some texts: 16 to 32 bytes of memory a sequence."""

    def __init__(self, texts: Iterable[str], num_words: int) -> None:
        self._num_words = num_words
        found = [np.zeros(0, np.uint64)]
        for text in texts:
            data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
            each = np.zeros(len(data) // 2 + 1, np.uint64)
            found.append(each[: _hash_sequences(data, num_words, each)])
        sequences = np.unique(np.concatenate(found))
        self._table: Words = np.zeros(max(16, 1 << (2 * len(sequences)).bit_length()), np.uint64)
        _fill(sequences, self._table)

    def with_any(self, texts: pa.Array) -> Bools:
        """Say which texts of a string array hold one of the sequences."""
        offsets, data = string_buffers(texts)
        source = np.frombuffer(data, dtype=np.uint8)
        source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
        found = np.zeros(len(texts), np.bool_)
        _look(source, offsets, self._table, self._num_words, found)
        return found


@njit(inline="always")
def _slot(key, table):  # type: ignore[no-untyped-def]
    """The slot that holds a key, or the free one (0) where it belongs."""
    mask = np.uint64(len(table) - 1)
    slot = key & mask
    while table[slot] != 0 and table[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def _fill(keys, table):  # type: ignore[no-untyped-def]
    for i in range(len(keys)):
        table[_slot(keys[i], table)] = keys[i]


@njit(inline="always")
def _key(hashes, at, num_words):  # type: ignore[no-untyped-def]
    value = np.uint64(num_words)
    for k in range(at, at + num_words):
        value = value * FACTOR + hashes[k]
    return mix64_scalar(value) | np.uint64(1)  # 0 is a free slot


@njit(cache=True)
def _hash_sequences(data, num_words, found):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(data) // 2 + 1, np.uint64)
    count = max(hash_words(data, 0, len(data), hashes) - num_words + 1, 0)
    for at in range(count):
        found[at] = _key(hashes, at, num_words)
    return count


@njit(cache=True)
def _look(data, offsets, table, num_words, found):  # type: ignore[no-untyped-def]
    hashes = np.empty(1024, np.uint64)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        if (end - start) // 2 + 1 > len(hashes):
            hashes = np.empty(end - start + 1, np.uint64)
        words = hash_words(data, start, end, hashes)
        for at in range(words - num_words + 1):
            key = _key(hashes, at, num_words)
            if table[_slot(key, table)] == key:
                found[row] = True
                break
