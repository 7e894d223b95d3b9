"""Which rows of a block may enter the sample, at close to the speed of reading them?

The compiled counterpart of `hashing.key_of`, bit for bit. Every row gets its hash, its checks and one comparison with a
bound that needs no logarithm, in loops that LLVM makes vectors of; the 1-3 % that pass get their exact key, 30 ns.
"""

import numpy as np
from numba import njit

from data_ops.kernels.arrays import Bytes, Floats, Ids, Words
from data_ops.kernels.bits import trailing_zeros
from data_ops.kernels.hashing import BELOW_ONE, checked_ids, exact_log_scalar, mix64_scalar

BLOCK_ROWS = 1024
LARGEST_DECAY = 2.0**50  # beyond it neighbouring float64 keys are a quarter apart and the sample would be ties
LOG2_E = 1.4426950408889634


def checked_rows(ids: Ids, times_s: Floats, weights: Floats) -> tuple[Words, Floats, Floats]:
    """Return flat ids, times and weights as `scan` takes them, read-only.

    Raises TypeError or ValueError for types and shapes that `Reservoir.add` does not take; values are not looked at.
    """
    ids = checked_ids(ids)
    times_s, weights = np.ascontiguousarray(times_s, np.float64), np.ascontiguousarray(weights, np.float64)
    for name, values in (("times_s", times_s), ("weights", weights)):
        if values.shape != (len(ids),):
            raise ValueError(f"{name} has shape {values.shape} for {len(ids)} ids; give one number per id")
    flat, times_s, weights = ids.reshape(-1), times_s.view(), weights.view()
    for array in (flat, times_s, weights):
        array.flags.writeable = False  # one compiled version for arrays that may and that may not be written
    return flat, times_s, weights


def check_values(times_s: Floats, weights: Floats, rate: float) -> None:
    """Raise ValueError for the first row whose weight or time cannot be keyed, naming the value and the row."""
    bad_weight = ~((weights > 0) & (weights < np.inf))
    with np.errstate(invalid="ignore"):
        bad_time = ~(np.abs(rate * times_s) <= LARGEST_DECAY)
    bad = np.flatnonzero(bad_weight | bad_time)
    if not len(bad):
        return
    row = int(bad[0])
    if bad_weight[row]:
        raise ValueError(f"weight {weights[row]} in row {row} is not positive and finite; drop or mend the row")
    raise ValueError(f"time {times_s[row]} s in row {row} is not finite or too far off; drop or mend the row")


@njit(inline="always")
def fill_keys(hashes: Words, weights: Floats, keys: Floats) -> None:
    """Turn `keys`, which hold rate * time, into the keys of the rows."""
    for i in range(len(keys)):
        v = (np.float64(hashes[i]) + 0.5) * 2.0**-64
        v = v if v < BELOW_ONE else BELOW_ONE
        u = 1.0 - v
        e = -(exact_log_scalar(u) + ((1.0 - u) - v) / u)
        keys[i] = exact_log_scalar(e) - exact_log_scalar(weights[i]) - keys[i]


@njit(inline="always")
def may_pass(v: float, decayed: float, weight: float, horizon: float, pad: float) -> bool:
    """Return whether a row may have a key below the horizon; decayed is rate * time.

    pad = (|horizon| + 1024) * 2^-46, or 0 for an infinite horizon.

    Why no row is missed. key < H means E < weight * exp(H + rate*time), and E >= v, so v < weight * 2^x with x
    = (H + rate*time) * log2(e) is necessary. Reading (x + 1023) * 2^52 as the bits of a float64 gives
    2^floor(x) * (1 + frac(x)) >= 2^x, because 2^f <= 1 + f on [0, 1]: an upper bound, at most 6.2 % loose. All
    roundings (of the key, x, the product and v) are below 16 * 2^-53 * (|H| + |rate*time| + 1024) in x, as |log
    weight| < 745; x is raised by 128 * 2^-53 times that. Outside +-1000 x is clipped, upwards below and to
    "always" above.
    """
    x = (decayed + horizon) * LOG2_E + (abs(decayed) * 2.0**-46 + pad)
    x = x if x > -1000.0 else -1000.0
    x = x if x < 1000.0 else 1000.0
    bound = float(weight * np.int64((x + 1023.0) * 2.0**52).view(np.float64))
    return (x >= 1000.0) | (v < bound)


@njit(inline="always")
def is_allowed(decayed: float, weight: float) -> bool:
    """Return whether a row can be keyed: weight positive and finite, |rate * time| small enough; NaN compares false."""
    return (weight > 0.0) & (weight < np.inf) & (abs(decayed) <= LARGEST_DECAY)


@njit(nogil=True, error_model="numpy")
def sift(
    ids: Words,
    times_s: Floats,
    weights: Floats,
    s1: np.uint64,
    s2: np.uint64,
    rate: float,
    horizon: float,
    hashes: Words,
    flags: Bytes,
) -> bool:
    """Write each row's hash, and a flag where its key may lie below the horizon; return whether all are allowed."""
    pad = (abs(horizon) + 1024.0) * 2.0**-46 if horizon < np.inf else 0.0
    for i in range(len(times_s)):
        hashes[i] = mix64_scalar(mix64_scalar(ids[2 * i + 1] ^ s1) + (ids[2 * i] ^ s2))
    num_bad = 0
    for i in range(len(times_s)):
        decayed = rate * times_s[i]
        flags[i] = may_pass(np.float64(hashes[i]) * 2.0**-64, decayed, weights[i], horizon, pad)
        num_bad += not is_allowed(decayed, weights[i])
    return num_bad == 0


@njit(cache=True, nogil=True, error_model="numpy")
def scan_rows(
    ids: Words,
    times_s: Floats,
    weights: Floats,
    start: int,
    s1: np.uint64,
    s2: np.uint64,
    rate: float,
    horizon: float,
    keys_out: Floats,
    ids_out: Words,
    num_out: int,
) -> tuple[int, int, bool]:
    """Append the rows from `start` on whose key is below the horizon to keys_out and ids_out; ids are flat.

    Returns (next start, rows in the output, whether all is well). Stops early when the output has less than one
    block of room; and at a row whose weight or time is not allowed, where the output behind num_out means nothing.
    """
    block_hashes, flags = np.empty(BLOCK_ROWS, np.uint64), np.empty(BLOCK_ROWS, np.uint8)
    words = flags.view(np.uint64)  # eight flags a word, the first one lowest
    hashes, passed_weights = np.empty(2 * BLOCK_ROWS, np.uint64), np.empty(2 * BLOCK_ROWS)
    n = len(times_s)
    first = num_out  # rows first .. last of the output hold ids and rate * time, and wait for their keys
    last = num_out
    while start < n and last + BLOCK_ROWS <= len(keys_out):
        stop = min(start + BLOCK_ROWS, n)
        ids_here, times_here, weights_here = ids[2 * start : 2 * stop], times_s[start:stop], weights[start:stop]
        if not sift(ids_here, times_here, weights_here, s1, s2, rate, horizon, block_hashes, flags):
            return start, num_out, False
        flags[stop - start :] = 0
        for w in range(len(words)):
            word = words[w]
            while word:
                j = 8 * w + (int(trailing_zeros(word)) >> 3)
                word &= word - np.uint64(1)
                hashes[last - first] = block_hashes[j]
                passed_weights[last - first] = weights_here[j]
                keys_out[last] = rate * times_here[j]
                ids_out[2 * last], ids_out[2 * last + 1] = ids_here[2 * j], ids_here[2 * j + 1]
                last += 1
        start = stop
        if last - first >= BLOCK_ROWS or start == n or last + BLOCK_ROWS > len(keys_out):
            fill_keys(hashes, passed_weights, keys_out[first:last])
            for j in range(first, last):
                keys_out[num_out] = keys_out[j]
                ids_out[2 * num_out] = ids_out[2 * j]
                ids_out[2 * num_out + 1] = ids_out[2 * j + 1]
                num_out += keys_out[j] < horizon
            first = num_out
            last = num_out
    return start, num_out, True
