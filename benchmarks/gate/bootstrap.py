"""How did the gate decide before levels were spent? An expanded percentile bootstrap at 5 % each time."""

import math
from statistics import NormalDist

import numpy as np

from benchmarks.gate.families import Array
from ray_jobs.evaluation.bounds import student_t

RESAMPLES = 400


def bounds_before(sizes: Array, differences: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return the old gate's one-sided lower and upper bound at 5 % (Hesterberg 2015, section 5.2)."""
    n = len(sizes)
    share = NormalDist().cdf(math.sqrt(n / (n - 1)) * student_t(0.05, n - 1))
    weights = rng.poisson(1.0, (RESAMPLES, n))
    low, high = np.quantile((weights @ differences) / (weights @ sizes), [1 - share, share])
    return float(low), float(high)
