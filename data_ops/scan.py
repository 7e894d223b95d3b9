"""Which rows of a block may enter the sample, at close to the speed of reading them?

The compiled counterpart of `keys.key_of`, bit for bit. Every row gets its hash and one comparison with a bound that
needs no logarithm; the 1-3 % that pass get their exact key (35 ns). Loops are split into passes over 1024 rows that
compilers vectorise; fused they are half as fast.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_ops.keys import (
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
    M1,
    M2,
    S27,
    S30,
    S31,
    SQRT_HALF,
    Floats,
    Ids,
    Words,
    checked_ids,
)

TINY, TWO_54 = 2.2250738585072014e-308, 18014398509481984.0
LOG2_E = 1.4426950408889634
LARGEST_DECAY = 2.0**50  # beyond it neighbouring float64 keys are a quarter apart and the sample would be ties
BLOCK_ROWS = 1024


def checked_rows(ids: Ids, times_s: Floats, weights: Floats, rate: float) -> tuple[Words, Floats, Floats]:
    """Return flat ids, times and weights as `scan` takes them, read-only.

    Raises TypeError or ValueError, naming the value and its row, where `Reservoir.add` does.
    """
    ids = checked_ids(ids)
    times_s, weights = np.ascontiguousarray(times_s, np.float64), np.ascontiguousarray(weights, np.float64)
    for name, values in (("times_s", times_s), ("weights", weights)):
        if values.shape != (len(ids),):
            raise ValueError(f"{name} has shape {values.shape} for {len(ids)} ids; give one number per id")
    flat, times_s, weights = ids.reshape(-1), times_s.view(), weights.view()
    for array in (flat, times_s, weights):
        array.flags.writeable = False  # one compiled version for arrays that may and that may not be written
    if count_bad(times_s, weights, rate):
        bad_weight = ~((weights > 0) & (weights < np.inf))
        with np.errstate(invalid="ignore"):
            bad_time = ~(np.abs(rate * times_s) <= LARGEST_DECAY)
        row = int(np.flatnonzero(bad_weight | bad_time)[0])
        if bad_weight[row]:
            raise ValueError(f"weight {weights[row]} in row {row} is not positive and finite; drop or mend the row")
        raise ValueError(f"time {times_s[row]} s in row {row} is not finite or too far off; drop or mend the row")
    return flat, times_s, weights


@njit(inline="always")
def mix64_scalar(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> S30)) * M1
    x = (x ^ (x >> S27)) * M2
    return x ^ (x >> S31)


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


@njit(cache=True, nogil=True)
def count_bad(times_s: Floats, weights: Floats, rate: float) -> int:
    """Count the rows whose weight is not positive and finite, or whose rate * time is not finite and comparable."""
    num_bad = 0
    for i in range(len(times_s)):
        num_bad += not ((weights[i] > 0.0) & (weights[i] < np.inf) & (abs(rate * times_s[i]) <= LARGEST_DECAY))
    return num_bad


@njit(inline="always")
def flag_rows(
    ids: Words,
    times_s: Floats,
    weights: Floats,
    s1: np.uint64,
    s2: np.uint64,
    rate: float,
    horizon: float,
    hashes: Words,
    flags: NDArray[np.uint8],
) -> None:
    """Flag every row whose key may lie below the horizon.

    Why no row is missed. key < H means E < weight * exp(H + rate*time), and E >= v, so v < weight * 2^x with x
    = (H + rate*time) * log2(e) is necessary. Reading (x + 1023) * 2^52 as the bits of a float64 gives
    2^floor(x) * (1 + frac(x)) >= 2^x, because 2^f <= 1 + f on [0, 1]: an upper bound, at most 6.2 % loose. All
    roundings (of the key, x, the product and v) are below 16 * 2^-53 * (|H| + |rate*time| + 1024) in x, as |log
    weight| < 745; x is raised by 128 * 2^-53 times that. Outside +-1000 x is clipped, upwards below and to
    "always" above.
    """
    for i in range(len(flags)):
        hashes[i] = mix64_scalar(ids[2 * i + 1] ^ s1) + (ids[2 * i] ^ s2)
    for i in range(len(flags)):
        hashes[i] = mix64_scalar(hashes[i])
    pad = (abs(horizon) + 1024.0) * 2.0**-46 if horizon < np.inf else 0.0
    for i in range(len(flags)):
        decayed = rate * times_s[i]
        x = (horizon + decayed) * LOG2_E + (abs(decayed) * 2.0**-46 + pad)
        x = x if x > -1000.0 else -1000.0
        x = x if x < 1000.0 else 1000.0
        power = np.int64((x + 1023.0) * 4503599627370496.0).view(np.float64)
        flags[i] = (x >= 1000.0) | (np.float64(hashes[i]) * 2.0**-64 < weights[i] * power)


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
) -> tuple[int, int]:
    """Append the rows from `start` on whose key is below the horizon to keys_out and ids_out; ids are flat.

    Returns (next start, rows in the output); stops early when the output has less than one block of room.
    Times and weights must have passed `count_bad`.
    """
    hashes = np.empty(BLOCK_ROWS, np.uint64)
    flags = np.zeros(BLOCK_ROWS, np.uint8)
    words = flags.view(np.uint64)
    passed = np.empty(BLOCK_ROWS + 8, np.int64)
    passed_hashes = np.empty(2 * BLOCK_ROWS, np.uint64)
    passed_weights = np.empty(2 * BLOCK_ROWS)
    n = len(times_s)
    first = num_out  # rows first .. last of the output hold ids and rate * time, and wait for their keys
    last = num_out
    while start < n and last + BLOCK_ROWS <= len(keys_out):
        stop = min(start + BLOCK_ROWS, n)
        size = stop - start
        flags[size:] = 0
        ids_here = ids[2 * start : 2 * stop]
        times_here, weights_here = times_s[start:stop], weights[start:stop]
        flag_rows(ids_here, times_here, weights_here, s1, s2, rate, horizon, hashes[:size], flags[:size])
        num_passed = 0
        for word in range(len(words)):
            if words[word]:
                for i in range(word * 8, word * 8 + 8):
                    passed[num_passed] = i
                    num_passed += flags[i]
        for j in range(num_passed):
            i = passed[j]
            passed_hashes[last - first + j] = hashes[i]
            passed_weights[last - first + j] = weights_here[i]
            keys_out[last + j] = rate * times_here[i]
            ids_out[2 * (last + j)] = ids_here[2 * i]
            ids_out[2 * (last + j) + 1] = ids_here[2 * i + 1]
        last += num_passed
        start = stop
        if last - first >= BLOCK_ROWS or start == n or last + BLOCK_ROWS > len(keys_out):
            fill_keys(passed_hashes, passed_weights, keys_out[first:last])
            for j in range(first, last):
                keys_out[num_out] = keys_out[j]
                ids_out[2 * num_out] = ids_out[2 * j]
                ids_out[2 * num_out + 1] = ids_out[2 * j + 1]
                num_out += keys_out[j] < horizon
            first = num_out
            last = num_out
    return start, num_out
