"""Which of these 128-bit ids are in that set, and which row is the best of each id?

Open addressing over int32 row numbers, written for the ten thousand to ten million rows of a sample and
its deletions: one probe of a table a row instead of a sort. Nothing is kept between calls; the exact set of
everything ever seen is `seen_ids.SeenIds`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_ops.kernels.arrays import Ids
from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.mixing import GOLDEN


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
    """Move one row per id, with its smallest key, to the front of both arrays in place; return how many there are.

    Repeats are rare, so first a small table counts hashes, and only ids that share one are compared.
    """
    flat = ids.reshape(-1)
    slots = 1 << max(6, (16 * len(keys) - 1).bit_length())
    alike = _alike(_flat(flat), np.zeros(slots // 32, np.uint64))
    if len(alike) < 2:
        return len(keys)
    some_keys, some_ids = keys[alike], ids[alike]
    order = np.lexsort((some_keys, some_ids[:, 1], some_ids[:, 0]))
    some_ids = some_ids[order]
    again = (some_ids[1:] == some_ids[:-1]).all(axis=1)
    return int(_drop(keys, flat, np.sort(alike[order[1:][again]])))


@njit(cache=True, nogil=True)
def keep_below(keys: NDArray[np.float64], ids: Ids, bound: float) -> int:
    """Move the rows whose key is below `bound` to the front of both arrays in place; return how many there are."""
    num = 0
    for row in range(len(keys)):
        keys[num], ids[2 * num], ids[2 * num + 1] = keys[row], ids[2 * row], ids[2 * row + 1]
        num += keys[row] < bound
    return num


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
def _alike(ids: Ids, table: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The rows whose id may occur twice: all that do, and one in sixteen others. Two bits a slot: 0, 1, more."""
    mask = np.uint64(32 * len(table) - 1)
    rows = len(ids) // 2
    slots = np.empty(rows, np.uint32)
    for row in range(rows):
        slot = mix64_scalar(ids[2 * row + 1] ^ (ids[2 * row] * GOLDEN)) & mask
        slots[row] = slot
        word, shift = slot >> np.uint64(5), (slot & np.uint64(31)) << np.uint64(1)
        once = (table[word] >> shift) & np.uint64(1)
        table[word] |= (np.uint64(1) + (once << np.uint64(1))) << shift
    found, num = np.empty(rows, np.int64), 0
    for row in range(rows):
        slot = np.uint64(slots[row])
        found[num] = row
        num += int(
            (table[slot >> np.uint64(5)] >> (((slot & np.uint64(31)) << np.uint64(1)) + np.uint64(1))) & np.uint64(1)
        )
    return found[:num]


@njit(cache=True, nogil=True)
def _drop(keys: NDArray[np.float64], ids: Ids, rows: NDArray[np.int64]) -> int:
    """Move all rows but those named, in increasing order, to the front; return how many are left."""
    num, at = 0, 0
    for row in range(len(keys)):
        if at < len(rows) and rows[at] == row:
            at += 1
            continue
        keys[num], ids[2 * num], ids[2 * num + 1] = keys[row], ids[2 * row], ids[2 * row + 1]
        num += 1
    return num
