"""Which key decides whether a document is sampled, and how is it the same on every machine?

h = mix64(seed, id); v = (h + 1/2) 2^-64; E = -log1p(-v); key = log E - log weight - lambda * time: the
logarithm of an exponential variable with rate weight * exp(lambda * time). The smallest keys are a weighted
sample without replacement (Efraimidis and Spirakis 2006) under exponential forward decay (Cormode et al.
2009), and no key ever changes as time passes. Logarithms are fdlibm's polynomial in + - * / only, so numpy,
numba and IEEE-754 machines agree to the last bit; the price, some 35 ns a key, is paid by the 1-3 % of rows
that pass a filter without any logarithm (`scan`).
"""

import numpy as np
from numba import njit, vectorize

from data_ops.kernels.arrays import Floats, Ids, Words
from data_ops.kernels.mixing import GOLDEN, mix64

mix64_scalar = njit(inline="always")(mix64)
U = np.uint64
LN2, LN2_HIGH, LN2_LOW = 0.6931471805599453, 6.93147180369123816490e-01, 1.90821492927058770002e-10
L1, L2, L3, L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
L5, L6, L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
SQRT_HALF = 0.7071067811865476
BELOW_ONE = np.float64(1.0 - 2.0**-53)
TINY, TWO_54 = 2.2250738585072014e-308, 18014398509481984.0


def seed_words(seed: int, *salts: int) -> Words:
    """Return two 64-bit words derived from the seed and further numbers, in that order.

    Raises ValueError unless every number lies in 0 .. 2^64 - 1.
    """
    words = np.array([1, 2], U)
    for number in (seed, *salts):
        if not 0 <= int(number) < 2**64:
            raise ValueError(f"seed {number} is outside 0 .. 2**64 - 1; choose one inside")
        words = mix64((words ^ U(int(number))) * GOLDEN + GOLDEN)
    return words


def hash_ids(ids: Ids, seed: int, *salts: int) -> Words:
    """Return one uniform 64-bit hash per id: equal for equal (seed, salts, id), whatever else is in the array."""
    s1, s2 = seed_words(seed, *salts)
    return mix64(mix64(ids[:, 1] ^ s1) + (ids[:, 0] ^ s2))


@njit(inline="always")
def exact_log_scalar(x: float) -> float:
    """Return the natural logarithm of a positive finite value, within 1 ulp, with the same bits on every machine."""
    small = x < TINY
    bits = np.float64(x * (TWO_54 if small else 1.0)).view(np.int64)  # no overflow is flagged for a large x
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


@vectorize(cache=True)  # compiled at the first call: most who import this never ask
def exact_log(x: float) -> float:
    """Return `exact_log_scalar` of each value of an array."""
    return exact_log_scalar(x)


def log_exponential(hashes: Words) -> Floats:
    """Return log E for an exponential variable E of rate 1 per hash; small hashes keep their 2^-64 resolution."""
    v = np.minimum((hashes.astype(np.float64) + 0.5) * 2.0**-64, BELOW_ONE)
    u = 1.0 - v  # log1p(-v) = log(u) + (what u lost by rounding) / u
    return exact_log(-(exact_log(u) + ((1.0 - u) - v) / u))


def decay_rate(half_life_s: float | None) -> float:
    """Return lambda in 1/s; 0 for no decay. Raises ValueError unless the half-life is positive and finite."""
    if half_life_s is None:
        return 0.0
    if not 0 < half_life_s < np.inf:
        raise ValueError(f"half_life_s={half_life_s} is not a positive number of seconds; use None for no decay")
    return LN2 / float(half_life_s)


def key_of(ids: Ids, times_s: Floats, weights: Floats, half_life_s: float | None, seed: int) -> Floats:
    """Return the sampling key of each row, float64[n]; smaller is kept first. Times are Unix seconds.

    The whole-array reference of `scan`, bit for bit. Use it for a few rows: it is ten times slower.
    """
    decayed = decay_rate(half_life_s) * np.asarray(times_s, np.float64)
    return log_exponential(hash_ids(ids, seed)) - exact_log(np.asarray(weights, np.float64)) - decayed


def checked_ids(ids: Ids) -> Ids:
    """Return ids as a contiguous uint64[n, 2] array; raises TypeError or ValueError where they are not of that form."""
    ids = np.asarray(ids)
    if ids.dtype != np.uint64:
        raise TypeError(f"ids have type {ids.dtype}; give uint64[n, 2]")
    if ids.ndim != 2 or ids.shape[1] != 2:
        raise ValueError(f"ids have shape {ids.shape}; give uint64[n, 2]: high and low 64 bits")
    return np.ascontiguousarray(ids)
