"""Which documents, of all ever seen, are in the sample, on any number of machines and after any number of restarts?

Those of the smallest keys (`keys.py`), kept with a certified horizon H: every live row ever seen whose key is below H
is held. So adding and merging are commutative, associative and idempotent; shards, order, repeats and restarts cannot
change the sample; a deletion is exact as if the document had never been seen, while enough rows lie below H. The price
is slack: a quarter more rows than the capacity, so that a fifth of the sample can be deleted before a refill.
"""

import hashlib
from collections.abc import Iterable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from data_ops.kernels.arrays import Floats, Ids
from data_ops.kernels.hashing import checked_ids, decay_rate, key_of, seed_words
from data_ops.kernels.id_sets import is_member, keep_below, keep_smallest, unique_ids
from data_ops.kernels.mixing import mix64
from data_ops.kernels.reservoir_scan import BLOCK_ROWS, check_values, checked_rows, scan_rows
from data_ops.sampling.config import ReservoirConfig
from data_ops.sampling.saturation import effective_half_life

__all__ = ["Reservoir", "ReservoirConfig", "key_of", "mix64"]
ALGORITHM = 1  # of keys, hash and fingerprint: a reservoir of another number is rebuilt from the lake
Block = tuple[Ids, Floats, Floats]


class ReservoirState(TypedDict):
    """All that a reservoir is: keys float64[n] and ids uint64[n, 2] by (key, id), ids of what was deleted, in order."""

    algorithm: int
    capacity: int
    half_life_s: float | None
    seed: int
    horizon: float | None
    keys: Floats
    ids: Ids
    tombstones: Ids


class Reservoir:
    """A weighted sample without replacement of all documents added, newer ones more likely.

    Equal for any partition, order, repetition and merge tree of the same rows. Of rows with one id the
    smallest key counts, that is the largest weight * 2^(time / half_life). Not for use by two threads at once.
    """

    def __init__(self, capacity: int, half_life_s: float | None = None, seed: int = 0) -> None:
        """Make an empty one; raises ValueError for a capacity below 1, a half-life not positive, a seed not uint64."""
        if capacity < 1:
            raise ValueError(f"capacity={capacity} documents is below 1; use at least 1")
        self.capacity, self.seed = int(capacity), int(seed)
        self.half_life_s = None if half_life_s is None else float(half_life_s)
        self._rate = decay_rate(self.half_life_s)
        self._words = seed_words(self.seed)
        self._most = self.capacity + self.capacity // 4 + 64
        size = 3 * self._most + 4 * BLOCK_ROWS
        self._keys, self._ids, self._num = np.empty(size), np.empty((size, 2), np.uint64), 0
        self._horizon = np.inf
        self._tombstones, self._deleted = np.empty((0, 2), np.uint64), list[Ids]()
        self._settled = True

    def add(self, ids: Ids, times_s: Floats, weights: Floats) -> None:
        """Add rows: ids uint64[n, 2], event times float64[n] in Unix seconds, weights float64[n] > 0.

        Raises TypeError or ValueError, and then has added nothing, for other shapes and types, a weight that is
        not positive and finite, or a time that is not finite or more than 2^50 / ln 2 half-lives from 1970.
        """
        flat, times_s, weights = checked_rows(ids, times_s, weights)
        s1, s2 = self._words
        start, before = 0, self._num
        flat_out = self._ids.reshape(-1)
        trimmed = False
        while True:
            start, num, well = scan_rows(
                flat,
                times_s,
                weights,
                start,
                s1,
                s2,
                self._rate,
                self._horizon,
                self._keys,
                flat_out,
                self._num,
            )
            if not well or (start < len(times_s) and not trimmed):  # trimmed rows could not be taken back
                check_values(times_s, weights, self._rate)
            self._num = num
            self._settled = self._settled and num == before
            if start == len(times_s):
                return
            self._trim()
            trimmed = True

    def merge(self, other: "Reservoir") -> None:
        """Take in another reservoir's rows, horizon and deletions, which leaves the sample of both inputs
        together.

        Raises ValueError for another capacity, half-life or seed.
        """
        for name in ("capacity", "half_life_s", "seed"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise ValueError(f"{name}={theirs} of the other reservoir is not {ours}; merge reservoirs made alike")
        keys, ids = other._rows()
        self._settle()
        self._deleted.append(other._tombstones)
        self._horizon = min(self._horizon, other._horizon)
        stop = self._num + len(keys)
        self._keys[self._num : stop], self._ids[self._num : stop], self._num = keys, ids, stop
        self._settled = False

    def delete(self, ids: Ids) -> None:
        """Remove documents for ever: added again, before or after, here or in a merged reservoir, they stay out."""
        self._deleted.append(np.array(checked_ids(ids)))
        self._settled = False

    def sample(self, k: int) -> Ids:
        """Return the k first documents by (key, id), uint64[<=k, 2], in the order of one pass over all rows.

        Fewer where fewer live rows exist, beyond the capacity, or where deletions used up the slack
        (`needs_refill`): what is returned is always certified.
        """
        if k < 0:
            raise ValueError(f"k={k} documents cannot be sampled; use 0 or more")
        return self._rows()[1][: min(k, self.capacity)].copy()

    def certified(self, k: int) -> bool:
        """Whether the k smallest keys of all live rows ever seen are held (or all live rows are)."""
        self._settle()
        return bool(self._horizon == np.inf or self._num >= k)

    def needs_refill(self, k: int) -> bool:
        """Whether `sample(k)` is short because of deletions, so that `refilled` would bring more."""
        return not self.certified(min(k, self.capacity))

    def refilled(self, blocks: Iterable[Block]) -> "Reservoir":
        """Return a full reservoir from all rows ever added, as (ids, times_s, weights) blocks; deletions are kept."""
        fresh = Reservoir(self.capacity, self.half_life_s, self.seed)
        self._settle()
        fresh.delete(self._tombstones)
        for ids, times_s, weights in blocks:
            fresh.add(ids, times_s, weights)
        return fresh

    def threshold(self, k: int) -> float:
        """Return the (k+1)-th smallest key, below which the sampled rows lie; inf if all live rows do.

        A row is in `sample(k)` with probability 1 - exp(-weight * exp(threshold + lambda * time)), given the
        others. Raises ValueError where it is not known: deletions used up the slack.
        """
        keys, _ = self._rows()
        if k < len(keys):
            return float(keys[k])
        if self._horizon < np.inf and not (k == len(keys) == self._most):
            raise ValueError(f"the key after k={k} lies beyond the horizon; refill, or use k below {len(keys)}")
        return float(self._horizon)

    def effective_half_life(self, arrivals_per_s: float) -> float:
        """Return the age in seconds at which a document is half as likely to be held as one arriving now."""
        return effective_half_life(self.capacity, self.half_life_s, arrivals_per_s)

    def fingerprint(self) -> str:
        """Return 32 hexadecimal digits that name the sampled ids, the seed, the half-life and the algorithm."""
        half_life = "none" if self.half_life_s is None else self.half_life_s.hex()
        digest = hashlib.blake2b(f"{ALGORITHM} {self.seed} {half_life} {self.capacity}\n".encode(), digest_size=16)
        digest.update(unique_ids(self.sample(self.capacity)).astype(">u8").tobytes())
        return digest.hexdigest()

    def state_dict(self) -> ReservoirState:
        """Return numbers, None and three arrays: rows by (key, id) and deleted ids in order. Independent copies."""
        self._settle()
        return {
            "algorithm": ALGORITHM,
            "capacity": self.capacity,
            "half_life_s": self.half_life_s,
            "seed": self.seed,
            "horizon": None if self._horizon == np.inf else float(self._horizon),
            "keys": self.keys.copy(),
            "ids": self.ids.copy(),
            "tombstones": self._tombstones.copy(),
        }

    @classmethod
    def from_state_dict(cls, state: ReservoirState) -> "Reservoir":
        """Return the reservoir of a `state_dict`, bit for bit. Raises ValueError for another algorithm."""
        if state["algorithm"] != ALGORITHM:
            raise ValueError(f"reservoir of algorithm {state['algorithm']}, not {ALGORITHM}; rebuild it from the lake")
        made = cls(state["capacity"], state["half_life_s"], state["seed"])
        keys, ids = np.asarray(state["keys"], np.float64), checked_ids(state["ids"])
        if len(keys) != len(ids) or len(keys) > made._most:
            raise ValueError(
                f"{len(keys)} keys and {len(ids)} ids are no state of capacity {made.capacity}; restore another"
            )
        made._keys[: len(keys)], made._ids[: len(keys)], made._num = keys, ids, len(keys)
        made._horizon = np.inf if state["horizon"] is None else float(state["horizon"])
        made._tombstones = np.array(checked_ids(state["tombstones"]))
        return made

    def __len__(self) -> int:
        self._settle()
        return min(self._num, self.capacity)

    @property
    def horizon(self) -> float:
        """The key below which every live row ever seen is held; inf while all are."""
        self._settle()
        return float(self._horizon)

    @property
    def keys(self) -> Floats:
        """The keys of all held rows, slack included, increasing: float64[m]."""
        return self._rows()[0].copy()

    @property
    def ids(self) -> Ids:
        """The ids of all held rows, slack included, by (key, id): uint64[m, 2]."""
        return self._rows()[1].copy()

    def _rows(self) -> tuple[Floats, Ids]:
        self._settle()
        return self._keys[: self._num], self._ids[: self._num]

    def _settle(self) -> None:
        """Bring the rows into their one form: trimmed and sorted by (key, id)."""
        if self._settled:
            return
        self._trim()
        keys, ids = self._keys[: self._num], self._ids[: self._num]
        order = np.lexsort((ids[:, 1], ids[:, 0], keys))
        keys[:], ids[:] = keys[order], ids[order]
        self._settled = True

    def _trim(self) -> None:
        """Drop deleted rows, all but the smallest key of an id, and what lies at or beyond the horizon.

        The horizon after any history of trims is the same: the (most+1)-th smallest key of the rows so far never
        rises as rows come in, so the row that ends up there is still held, or is the horizon already. Rows that tie
        with the horizon are dropped, which depends on nothing but the keys.
        """
        if self._deleted:
            self._tombstones = unique_ids(np.concatenate([self._tombstones, *self._deleted]))
            self._deleted.clear()
        if len(self._tombstones):
            self._keep(~is_member(self._ids[: self._num], self._tombstones))
        self._num = self._distinct()
        if self._num > self._most:
            last = np.partition(self._keys[: self._num], self._most)[self._most]
            self._horizon = min(self._horizon, float(last))
        self._num = keep_below(self._keys[: self._num], self._ids[: self._num].reshape(-1), self._horizon)

    def _distinct(self) -> int:
        """Move one row per id to the front; only of the smallest keys where those suffice, three times faster."""
        keys, ids, enough = self._keys[: self._num], self._ids[: self._num], self._most + self._most // 16
        if self._num > enough:
            below = np.flatnonzero(keys <= np.partition(keys, enough)[enough])
            small_keys, small_ids = keys[below], ids[below]
            num = keep_smallest(small_keys, small_ids)
            if num > self._most:  # then no other row lies below the horizon
                keys[:num], ids[:num] = small_keys[:num], small_ids[:num]
                return num
        return keep_smallest(keys, ids)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(kept)
        self._keys[: len(rows)], self._ids[: len(rows)] = self._keys[rows], self._ids[rows]
        self._num = len(rows)
