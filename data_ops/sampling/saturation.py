"""How strongly does a reservoir of limited size really prefer new text?

A row of decayed weight x (in units of the threshold) is held with probability 1 - exp(-x), which flattens
near 1: when the capacity is large for the arrival rate, even old text fits, and the half-life one sees is
longer than the one asked for. With steady arrivals, capacity * lambda / rate = Ein(tau) fixes the threshold
tau (science notes A4), and everything follows in closed form. Within 1 % of the promise while capacity *
lambda / rate <= 0.08.
"""

import math

from data_ops.kernels.hashing import decay_rate

LARGEST_SATURATION = 0.08
EULER_GAMMA = 0.5772156649015329


def saturation(capacity: int, half_life_s: float | None, arrivals_per_s: float) -> float:
    """Return capacity * lambda / arrivals: documents asked for over documents that arrive in one decay time.

    Raises ValueError unless arrivals_per_s is positive and finite.
    """
    if not 0 < arrivals_per_s < math.inf:
        raise ValueError(f"arrivals_per_s={arrivals_per_s} is not positive; give documents a second")
    return capacity * decay_rate(half_life_s) / arrivals_per_s


def inclusion_probability(age_s: float, capacity: int, half_life_s: float | None, arrivals_per_s: float) -> float:
    """Return the chance that a document of weight 1 and this age is held, arrivals having been steady for ever."""
    tau = _threshold(saturation(capacity, half_life_s, arrivals_per_s))
    return -math.expm1(-tau * math.exp(-decay_rate(half_life_s) * age_s))


def effective_half_life(capacity: int, half_life_s: float | None, arrivals_per_s: float) -> float:
    """Return the age in seconds at which a document is half as likely to be held as one arriving now.

    >>> round(effective_half_life(10, 1000.0, 100.0)), round(effective_half_life(10**6, 1000.0, 100.0) / 1000)
    (1000, 10)
    """
    if half_life_s is None:
        return math.inf
    tau = _threshold(saturation(capacity, half_life_s, arrivals_per_s))
    half = -math.log1p(math.expm1(-tau) / 2)  # the x at which 1 - exp(-x) is half its value at tau
    return math.log(tau / half) / decay_rate(half_life_s)


def saturation_warning(capacity: int, half_life_s: float | None, arrivals_per_s: float) -> str | None:
    """Return one sentence when the reservoir is too large to keep its half-life within 1 %, else None."""
    load = saturation(capacity, half_life_s, arrivals_per_s)
    if half_life_s is None or load <= LARGEST_SATURATION:
        return None
    effective = effective_half_life(capacity, half_life_s, arrivals_per_s)
    most = int(capacity * LARGEST_SATURATION / load)
    return (
        f"a reservoir of {capacity} documents at {arrivals_per_s:g} documents/s behaves like a half-life of "
        f"{effective:g} s instead of {half_life_s:g} s; lower reservoir.capacity to {most} or raise reservoir.half_life"
    )


def _threshold(load: float) -> float:
    """Solve Ein(tau) = load by bisection on log tau."""
    low, high = math.log(max(load, 1e-300)) - 1.0, load + 2.0  # Ein(x) <= x, and Ein(x) >= log x
    for _ in range(80):
        middle = (low + high) / 2
        if middle < 700 and _ein(math.exp(middle)) < load:
            low = middle
        else:
            high = middle
    return math.exp(min(low, 700.0))


def _ein(x: float) -> float:
    """Return Ein(x) = integral of (1 - e^-s)/s from 0 to x: its series, or log x + gamma + E1(x) where E1 < 1e-16."""
    if x > 34.0:
        return math.log(x) + EULER_GAMMA
    term, total, n = x, x, 1
    if x < 4.0:
        while abs(term) > 1e-17 * abs(total):
            n += 1
            term *= -x / n
            total += term / n
        return total
    power, total, n = 1.0, 0.0, 0  # e^-x sum of H_n x^n / n!: no cancellation
    harmonic = 0.0
    while n < x or power * harmonic > 1e-17 * total:
        n += 1
        power *= x / n
        harmonic += 1.0 / n
        total += power * harmonic
    return total * math.exp(-x)
