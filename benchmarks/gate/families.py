"""Which differences between two models are simulated? Bytes with mean 1, differences whose byte-weighted mean is 0.

`demo`: like the residuals of consecutive evaluations of the demo (skew -1.7, kurtosis 20); `mirrored`: harm is the rare
side, which is the dangerous one; `t3`: Student's t with three degrees of freedom; `lognormal s`: harm exp(s z).
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FAMILIES = ("demo", "mirrored", "t3", "lognormal .5", "lognormal 1")
RARE, TALL, USUAL, JUMP = 0.03, 1.5, 0.9, 1.5  # share and mean of the rare gains of the demo, and weights


def sizes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Bytes of documents, spread as text is."""
    return np.exp(0.65 * rng.standard_normal(shape) - 0.65**2 / 2)


def residuals(family: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Bits per byte that a document costs more, with mean 0 and, where there is one, standard deviation 1."""
    if family in ("demo", "mirrored"):
        sign = -1.0 if family == "demo" else 1.0
        rare = (rng.random(shape) < RARE) * rng.exponential(TALL, shape)
        usual = rng.standard_t(5, shape) * math.sqrt(3 / 5)
        raw = USUAL * usual + JUMP * (rare - RARE * TALL)
        return sign * raw / DEMO_DEVIATION
    if family == "t3":
        return rng.standard_t(3, shape) / math.sqrt(3)
    s = float(family.split()[1])
    spread = math.sqrt(math.exp(s * s) * (math.exp(s * s) - 1))
    return (np.exp(s * rng.standard_normal(shape)) - math.exp(s * s / 2)) / spread


DEMO_DEVIATION = math.sqrt(USUAL**2 + JUMP**2 * (2 * RARE * TALL**2 - (RARE * TALL) ** 2))
