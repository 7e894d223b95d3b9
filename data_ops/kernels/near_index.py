"""Which of the sketches that were added is a sketch like?

An open-addressing table from band keys to the sketches that have them, at most FAMILY for a key: those with the
smallest ids, so that what is found depends on which sketches were added and never on their order. What shares a band is
compared signature by signature. About 700 bytes of memory a sketch. Sketches that lie elsewhere count as if they had
been added, where the caller says which of them have the keys of a question (`Outside`).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from data_ops.kernels.arrays import Bools, Bytes, Ints, Words
from data_ops.kernels.hashing import mix64_scalar

FAMILY = 8  # sketches for a band key: many half-alike texts (a licence, a template) share some bands
NONE = np.uint32(0xFFFFFFFF)
MIN_SLOTS = 1024


class Outside(NamedTuple):
    """Sketches elsewhere that have the keys of n questions: for each key the FAMILY smallest ids, in order.

    begins: int64[n * bands + 1], where those of each key begin. alike: whether one is like the question.
    """

    begins: Ints
    ids: Words
    alike: Bools


class NearIndex:
    """A growing set of sketches: ids uint64[n], signatures uint8[n, h], bands uint64[n, b].

    agreement: two sketches are alike when so many of their h hashes are equal.
    """

    def __init__(self, num_hashes: int, num_bands: int, agreement: int) -> None:
        self._agreement, self._num_bands = agreement, num_bands
        self._count = 0
        self._ids = np.empty(0, np.uint64)
        self._signatures = np.empty((0, num_hashes), np.uint8)
        self._bands = np.empty((0, num_bands), np.uint64)
        self._members, self._next = np.empty(0, np.uint32), np.empty(0, np.uint32)  # of the lists of the keys
        self._used = np.zeros(2, np.int64)  # slots, members
        self._keys, self._heads = np.zeros(MIN_SLOTS, np.uint64), np.full(MIN_SLOTS, NONE)

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory that is taken."""
        parts = (self._ids, self._signatures, self._bands, self._members, self._next, self._keys, self._heads)
        return sum(part.nbytes for part in parts)

    @property
    def sketches(self) -> tuple[Words, Bytes, Words]:
        """Ids, signatures and bands of all that were added."""
        return self._ids[: self._count], self._signatures[: self._count], self._bands[: self._count]

    def add(self, ids: Words, signatures: Bytes, bands: Words, outside: Outside | None = None) -> Bools:
        """Add sketches; True where one is unlike all before it, the earlier ones of this call included."""
        self._reserve(len(ids))
        new = np.zeros(len(ids), np.bool_)
        self._bands[self._count : self._count + len(ids)] = bands
        lists = (self._keys, self._heads, self._members, self._next, self._used)
        others = outside or _nothing(bands)
        _add(ids, signatures, bands, self._ids, self._signatures, self._count, lists, others, self._agreement, new)
        self._count += len(ids)
        return new

    def look(self, signatures: Bytes, bands: Words, outside: Outside | None = None) -> Bools:
        """Say which sketches are like one that was added; adds none."""
        found = np.zeros(len(signatures), np.bool_)
        lists = (self._keys, self._heads, self._members, self._next)
        others = outside or _nothing(bands)
        _look(signatures, bands, self._ids, self._signatures, lists, others, self._agreement, found)
        return found

    def _reserve(self, more: int) -> None:
        """Make room for sketches, so that the compiled loops never run out of it."""
        needed = self._count + more
        if needed > len(self._ids):
            room = max(needed, 2 * len(self._ids))
            self._ids = _grown(self._ids, room)
            self._signatures, self._bands = _grown(self._signatures, room), _grown(self._bands, room)
        members = int(self._used[1]) + more * self._num_bands
        if members > len(self._members):
            room = max(members, 2 * len(self._members))
            self._members, self._next = _grown(self._members, room), _grown(self._next, room)
        slots = int(self._used[0]) + more * self._num_bands
        size = len(self._keys)
        while slots > 0.7 * size:
            size *= 2
        if size > len(self._keys):
            keys, heads = np.zeros(size, np.uint64), np.full(size, NONE)
            _move(self._keys, self._heads, keys, heads)
            self._keys, self._heads = keys, heads


def _grown(array, room):  # type: ignore[no-untyped-def]
    grown = np.empty((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


@njit(inline="always")
def _slot(key, keys, heads):  # type: ignore[no-untyped-def]
    """The slot of a key, or the free one where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = mix64_scalar(key) & mask
    while heads[slot] != NONE and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def _move(old_keys, old_heads, keys, heads):  # type: ignore[no-untyped-def]
    for i in range(len(old_keys)):
        if old_heads[i] != NONE:
            slot = _slot(old_keys[i], keys, heads)
            keys[slot], heads[slot] = old_keys[i], old_heads[i]


@njit(cache=True, nogil=True)
def are_alike(signatures: Bytes, rows: Ints, others: Bytes, places: Ints, agreement: int) -> Bools:
    """Compare signatures[rows] with others[places], one by one."""
    alike = np.empty(len(rows), np.bool_)
    for pair in range(len(rows)):
        alike[pair] = _agree(signatures[rows[pair]], others[places[pair]]) >= agreement
    return alike


def _nothing(bands: Words) -> Outside:
    return Outside(np.zeros(bands.size + 1, np.int64), np.empty(0, np.uint64), np.empty(0, np.bool_))


@njit(inline="always")
def _agree(signature, other):  # type: ignore[no-untyped-def]
    equal = 0
    for k in range(len(signature)):
        equal += signature[k] == other[k]
    return equal


@njit(inline="always")
def _smaller(number, head, members, following, known_ids):  # type: ignore[no-untyped-def]
    """How many sketches of a list have a smaller id."""
    smaller, at = 0, head
    while at != NONE:
        smaller += known_ids[members[at]] < number
        at = following[at]
    return smaller


@njit(cache=True)
def _is_like(row, signatures, bands, known_ids, known, lists, outside, agreement):  # type: ignore[no-untyped-def]
    """Whether one of the FAMILY smallest ids of a band, here and elsewhere together, is of a sketch that is like it."""
    keys, heads, members, following = lists
    begins, ids, alike = outside
    for band in range(bands.shape[1]):
        first, last = begins[row * bands.shape[1] + band], begins[row * bands.shape[1] + band + 1]
        head = heads[_slot(bands[row, band], keys, heads)]
        for at in range(first, last):
            if alike[at] and at - first + _smaller(ids[at], head, members, following, known_ids) < FAMILY:
                return True
        at = head
        while at != NONE:
            number = known_ids[members[at]]
            few = first == last  # then all that are in the list count
            if not few:
                before = np.searchsorted(ids[first:last], number)
                few = before + _smaller(number, head, members, following, known_ids) < FAMILY
            if few and _agree(signatures[row], known[members[at]]) >= agreement:
                return True
            at = following[at]
    return False


@njit(cache=True)
def _look(signatures, bands, known_ids, known, lists, outside, agreement, found):  # type: ignore[no-untyped-def]
    for i in range(len(signatures)):
        found[i] = _is_like(i, signatures, bands, known_ids, known, lists, outside, agreement)


@njit(cache=True)
def _add(ids, signatures, bands, known_ids, known, count, lists, outside, agreement, new):  # type: ignore[no-untyped-def]
    keys, heads, members, following, used = lists
    chains = (keys, heads, members, following)
    for i in range(len(ids)):
        new[i] = not _is_like(i, signatures, bands, known_ids, known, chains, outside, agreement)
        number = np.uint32(count + i)
        known_ids[number], known[number] = ids[i], signatures[i]
        for band in range(bands.shape[1]):
            slot = _slot(bands[i, band], keys, heads)
            at, length, largest = heads[slot], 0, NONE
            while at != NONE:
                if largest == NONE or known_ids[members[at]] > known_ids[members[largest]]:
                    largest = at
                length += 1
                at = following[at]
            if length < FAMILY:
                if length == 0:
                    keys[slot] = bands[i, band]
                    used[0] += 1
                members[used[1]], following[used[1]] = number, heads[slot]
                heads[slot] = np.uint32(used[1])
                used[1] += 1
            elif ids[i] < known_ids[members[largest]]:
                members[largest] = number
