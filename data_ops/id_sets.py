"""Which of these 128-bit ids are in that set, and which row is the best of each id?

Open addressing over int32 row numbers, written for the ten thousand to ten million rows of a sample and
its deletions: one probe of a table a row instead of a sort. Nothing is kept between calls; the exact set of
everything ever seen is `dedup.SeenIds`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_ops.keys import GOLDEN, Ids
from data_ops.scan import mix64_scalar


def is_member(ids: Ids, among: Ids) -> NDArray[np.bool_]:
    """Return for each row of `ids` (uint64[n, 2]) whether it occurs in `among` (uint64[m, 2])."""
    if len(among) == 0 or len(ids) == 0:
        return np.zeros(len(ids), np.bool_)
    return _is_member(_flat(ids), _flat(among), _empty_table(len(among)))


def unique_ids(ids: Ids) -> Ids:
    """Return the distinct ids in increasing order."""
    if len(ids) == 0:
        return ids
    ids = ids[np.lexsort((ids[:, 1], ids[:, 0]))]
    first = np.ones(len(ids), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return ids[first]


def keep_smallest(keys: NDArray[np.float64], ids: Ids) -> int:
    """Move one row per id, with its smallest key, to the front of both arrays in place; return how many there are."""
    return int(_keep_smallest(keys, ids.reshape(-1), _empty_table(len(keys))))


def _flat(ids: Ids) -> Ids:
    flat = np.ascontiguousarray(ids).reshape(-1)
    flat.flags.writeable = False  # one compiled version for arrays that may and may not be written
    return flat


def _empty_table(num_ids: int) -> NDArray[np.int32]:
    """A table of at least twice as many slots as ids, so that a search takes 1.5 steps on average."""
    return np.full(1 << max(4, (2 * num_ids - 1).bit_length()), -1, np.int32)


@njit(inline="always")
def _slot(ids: Ids, row: int, among: Ids, table: NDArray[np.int32]) -> np.uint64:
    """The slot that holds the row of `among` with the same id, or the empty slot where it would stand."""
    mask = np.uint64(len(table) - 1)
    high, low = ids[2 * row], ids[2 * row + 1]
    slot = mix64_scalar(low ^ (high * GOLDEN)) & mask
    while table[slot] >= 0:
        other = table[slot]
        if among[2 * other] == high and among[2 * other + 1] == low:
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _is_member(ids: Ids, among: Ids, table: NDArray[np.int32]) -> NDArray[np.bool_]:
    for row in range(len(among) // 2):
        table[_slot(among, row, among, table)] = row
    found = np.empty(len(ids) // 2, np.bool_)
    for row in range(len(found)):
        found[row] = table[_slot(ids, row, among, table)] >= 0
    return found


@njit(cache=True, nogil=True)
def _keep_smallest(keys: NDArray[np.float64], ids: Ids, table: NDArray[np.int32]) -> int:
    num = 0
    for row in range(len(keys)):
        slot = _slot(ids, row, ids, table)
        if table[slot] < 0:
            table[slot] = num
            keys[num], ids[2 * num], ids[2 * num + 1] = keys[row], ids[2 * row], ids[2 * row + 1]
            num += 1
        elif keys[row] < keys[table[slot]]:
            keys[table[slot]] = keys[row]
    return num
