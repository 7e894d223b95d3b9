"""By which number is a trial ranked, and which points of its curve are kept?"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ray_jobs.sweep.trial.job import MarkVerdict
from tune.policy import WORST

CURVE_POINTS = 24  # of the training loss between two marks


def combined(fresh: float | None, old: float | None, old_share: float) -> float | None:
    """The number trials are ranked by; where there is no old (or no fresh) text, the other alone.

    >>> combined(2.0, 3.0, 0.25), combined(2.0, None, 0.25)
    (2.25, 2.0)
    """
    found = (1 - old_share) * fresh + old_share * old if fresh is not None and old is not None else fresh or old
    return found if found is not None and math.isfinite(found) else None


def score_of(verdict: MarkVerdict) -> float:
    """The number by which a verdict counts in decisions, the same when it comes in and when it is read back."""
    return WORST if verdict["score"] is None else verdict["score"]


def thinned(curve: Sequence[Sequence[float]], most: int = CURVE_POINTS) -> list[list[float]]:
    """At most so many points: means over equal stretches, each at its last token."""
    parts = [part for part in np.array_split(np.asarray(curve, float).reshape(-1, 2), most) if len(part)]
    return [[int(part[-1, 0]), float(part[:, 1].mean())] for part in parts]


def bits_over(slices: Mapping[str, Mapping[str, float]], names: Collection[str]) -> float | None:
    """Bits per byte over the bytes of several slices."""
    num_bytes = sum(slices[name]["bytes"] for name in names)
    bits = sum(slices[name]["bits_per_byte"] * slices[name]["bytes"] for name in names)
    return bits / num_bytes if num_bytes else None
