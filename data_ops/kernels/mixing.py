"""How is a 64-bit word scrambled so that it passes as random? The one finaliser that all of the house's hashes use."""

import numpy as np

from data_ops.kernels.arrays import Words

M1, M2, GOLDEN = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
S27, S30, S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def mix64(x: Words) -> Words:
    """Return the splitmix64 finaliser of each value, a bijection that passes as random (Steele et al. 2014)."""
    x = (x ^ (x >> S30)) * M1
    x = (x ^ (x >> S27)) * M2
    return x ^ (x >> S31)
