"""Which documents has the lake already seen, exactly?

A set of 128-bit document ids as one open-addressing table (linear probing, load at most one half), so
asking costs about one cache miss an id. It is exact: no false drops as a Bloom filter would have, for
32 to 64 bytes of memory an id. For more than fits in memory `data_ops/index` writes what it holds into sorted files.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from data_ops.kernels.arrays import Ids

MIN_SLOTS = 1024  # a power of two, as every size of the table


class SeenIds:
    """A growing set of document ids (uint64[n,2]). The result depends on the ids added, never on the batches.

    >>> seen = SeenIds()
    >>> seen.add_new(np.array([[0, 7], [0, 8], [0, 7]], dtype=np.uint64)).tolist()
    [True, True, False]
    >>> len(seen)
    2
    """

    def __init__(self) -> None:
        self._table = np.zeros((MIN_SLOTS, 2), dtype=np.uint64)  # a slot of (0, 0) is free
        self._num_stored = 0  # in the table, so without the id (0, 0)
        self._zero = np.zeros(1, dtype=np.bool_)  # whether the id (0, 0) is in the set

    def __len__(self) -> int:
        return self._num_stored + int(self._zero[0])

    @property
    def size_bytes(self) -> int:
        """Memory the table takes."""
        return int(self._table.nbytes)

    def ids(self) -> Ids:
        """All ids of the set, in no order."""
        stored = self._table[self._table.any(axis=1)]
        return np.concatenate([stored, np.zeros((int(self._zero[0]), 2), np.uint64)])

    def add_new(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Add ids; True where an id was not in the set. Of repeats within the batch only the first is new."""
        ids = _checked(ids)
        new = np.zeros(len(ids), dtype=np.bool_)
        done = 0
        while done < len(ids):
            done, self._num_stored = _insert(self._table, self._num_stored, self._zero, ids, new, done)
            if done < len(ids):
                self._grow()
        return new

    def contains(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Say which ids are in the set, adding none."""
        ids = _checked(ids)
        found = np.zeros(len(ids), dtype=np.bool_)
        _find(self._table, self._zero, ids, found)
        return found

    def _grow(self) -> None:
        table = np.zeros((2 * len(self._table), 2), dtype=np.uint64)
        _move(self._table, table)
        self._table = table


def _checked(ids: Ids) -> Ids:
    if ids.dtype != np.uint64 or ids.ndim != 2 or ids.shape[1] != 2:
        raise ValueError(f"ids are {ids.dtype}{list(ids.shape)}, not uint64[n, 2]; use ids_to_array")
    return np.ascontiguousarray(ids)


@njit(cache=True)
def _slot(table, high, low):  # type: ignore[no-untyped-def]
    """Find the slot that holds the id or, if there is none, the free slot where it belongs."""
    mask = np.uint64(len(table) - 1)
    x = high ^ (low * np.uint64(0x9E3779B97F4A7C15))  # ids are hashes already; this guards against hand-made ones
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    slot = (x ^ (x >> np.uint64(32))) & mask
    while (table[slot, 0] != high or table[slot, 1] != low) and (table[slot, 0] != 0 or table[slot, 1] != 0):
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def _insert(table, num_stored, zero, ids, new, start):  # type: ignore[no-untyped-def]
    """Insert ids[start:] until done or half full; return where it stopped and how many are stored now."""
    limit = len(table) // 2
    for i in range(start, len(ids)):
        high, low = ids[i, 0], ids[i, 1]
        if high == 0 and low == 0:
            new[i] = not zero[0]
            zero[0] = True
            continue
        slot = _slot(table, high, low)
        if table[slot, 0] == high and table[slot, 1] == low:
            continue
        if num_stored >= limit:
            return i, num_stored
        table[slot, 0] = high
        table[slot, 1] = low
        num_stored += 1
        new[i] = True
    return len(ids), num_stored


@njit(cache=True)
def _find(table, zero, ids, found):  # type: ignore[no-untyped-def]
    for i in range(len(ids)):
        high, low = ids[i, 0], ids[i, 1]
        if high == 0 and low == 0:
            found[i] = zero[0]
        else:
            slot = _slot(table, high, low)
            found[i] = table[slot, 0] == high and table[slot, 1] == low


@njit(cache=True)
def _move(old, table):  # type: ignore[no-untyped-def]
    for i in range(len(old)):
        if old[i, 0] != 0 or old[i, 1] != 0:
            slot = _slot(table, old[i, 0], old[i, 1])
            table[slot, 0] = old[i, 0]
            table[slot, 1] = old[i, 1]
