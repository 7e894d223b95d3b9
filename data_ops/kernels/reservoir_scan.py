"""Which rows of a block may enter the sample, at close to the speed of reading them?

The compiled counterpart of `keys.key_of`, bit for bit. Every row gets its hash, its checks and one comparison with a
bound that needs no logarithm, eight rows at a time (eight_rows.py); the 1-3 % that pass get their exact key, 30 ns.
"""

import numpy as np
from numba import njit

from data_ops.kernels.bits import trailing_zeros
from data_ops.kernels.eight_rows import LARGEST_DECAY, ROWS, eight_rows, half_hashes
from data_ops.kernels.hashing import (
    BELOW_ONE,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
    L7,
    LN2_HIGH,
    LN2_LOW,
    SQRT_HALF,
    Floats,
    Ids,
    Words,
    checked_ids,
    mix64_scalar,
)

TINY, TWO_54 = 2.2250738585072014e-308, 18014398509481984.0
BLOCK_ROWS = 1024


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
def exact_log_scalar(x: float) -> float:
    small = x < TINY
    bits = np.float64(x * TWO_54 if small else x).view(np.int64)
    e = (bits >> 52) - (1076 if small else 1022)
    mantissa = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FE0000000000000).view(np.float64)
    low = mantissa < SQRT_HALF
    mantissa = np.float64(mantissa * (2.0 if low else 1.0))
    e = e - 1 if low else e
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = z * (L1 + w * (L3 + w * (L5 + w * L7))) + w * (L2 + w * (L4 + w * L6))
    half = 0.5 * f * f
    return e * LN2_HIGH - ((half - (s * (half + r) + e * LN2_LOW)) - f)


@njit(inline="always")
def fill_keys(hashes: Words, weights: Floats, keys: Floats) -> None:
    """Turn `keys`, which hold rate * time, into the keys of the rows."""
    for i in range(len(keys)):
        v = (np.float64(hashes[i]) + 0.5) * 2.0**-64
        v = v if v < BELOW_ONE else BELOW_ONE
        u = 1.0 - v
        e = -(exact_log_scalar(u) + ((1.0 - u) - v) / u)
        keys[i] = exact_log_scalar(e) - exact_log_scalar(weights[i]) - keys[i]


@njit(cache=True, nogil=True, error_model="numpy")
def scan(
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
    pad = (abs(horizon) + 1024.0) * 2.0**-46 if horizon < np.inf else 0.0
    halves = np.empty(BLOCK_ROWS, np.uint64)
    flags = np.empty(BLOCK_ROWS // ROWS, np.uint8)  # a bit a row, as eight_rows gives them
    words = flags.view(np.uint64)
    hashes = np.empty(2 * BLOCK_ROWS, np.uint64)
    passed_weights = np.empty(2 * BLOCK_ROWS)
    n = len(times_s)
    first = num_out  # rows first .. last of the output hold ids and rate * time, and wait for their keys
    last = num_out
    while start < n and last + BLOCK_ROWS <= len(keys_out):
        stop, base = start + min(BLOCK_ROWS, (n - start) // ROWS * ROWS), 0
        ids_here, times_here, weights_here = ids, times_s, weights
        if stop == start:  # the last rows, filled up to eight with one that is always allowed
            stop, base = start + ROWS, start
            ids_here = np.zeros(2 * ROWS, np.uint64)
            times_here, weights_here = np.zeros(ROWS), np.ones(ROWS)
            for k in range(n - start):  # slices given to slices take 3 s to compile, for the words of an error
                ids_here[2 * k], ids_here[2 * k + 1] = ids[2 * (start + k)], ids[2 * (start + k) + 1]
                times_here[k], weights_here[k] = times_s[start + k], weights[start + k]
        for row in range(start, stop, ROWS):
            half_hashes(ids_here, row - base, s1, s2, halves, row - start)
        flags[:] = 0
        bad = np.uint64(0)
        for row in range(start, stop, ROWS):
            found = eight_rows(halves, row - start, times_here, weights_here, row - base, rate, horizon, pad)
            flags[(row - start) // ROWS] = found
            bad |= found >> np.uint64(ROWS)
        if bad:
            return start, num_out, False
        for w in range(len(words)):
            word = words[w]
            while word:
                i = start + 64 * w + np.int64(trailing_zeros(word))
                word &= word - np.uint64(1)
                if i < n:
                    hashes[last - first] = mix64_scalar(halves[i - start])
                    passed_weights[last - first] = weights[i]
                    keys_out[last] = rate * times_s[i]
                    ids_out[2 * last], ids_out[2 * last + 1] = ids[2 * i], ids[2 * i + 1]
                    last += 1
        start = min(stop, n)
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
