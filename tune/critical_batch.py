"""Which batch is the largest that loses nothing, and which are to be tried next? From the verdicts of a sweep."""

import math
from collections.abc import Sequence
from typing import TypedDict

from tune.space import BATCH, Point

TOLERANCE = 0.005  # bits per byte a larger batch may lose, relative, before it is beyond the critical one


class OfBatch(TypedDict):
    """Where a trial stands by its last verdict, and its settings; score: None where it has diverged."""

    tokens: int
    score: float | None
    point: Point


class CriticalBatch(TypedDict):
    """The largest batch, in tokens, that loses nothing, and what says so."""

    critical: int
    is_bound: bool  # no batch was too large: the critical one is this or larger
    too_large: int | None  # the smallest that loses
    scores: dict[str, float]
    tolerance: float


def critical_batch(verdicts: Sequence[OfBatch], tolerance: float = TOLERANCE) -> CriticalBatch | None:
    """Find the largest batch that loses nothing at equal tokens, from trials at several batches; None without them.

    By branching (Merrill et al. 2025): of each batch the best trial counts, and the critical batch is the largest
    up to which every score is within `tolerance` (relative) of the smallest batch's best or better; where that is the
    smallest one itself, trials only say that it is below `too_large`.
    """
    most = max((v["tokens"] for v in verdicts if v["score"] is not None), default=0)
    best: dict[int, float] = {}
    for verdict in verdicts:
        if verdict["score"] is not None and verdict["tokens"] == most and BATCH in verdict["point"]:
            batch = verdict["point"][BATCH]
            best[batch] = min(best.get(batch, math.inf), verdict["score"])
    if len(best) < 2:
        return None
    batches = sorted(best)
    critical, least = batches[0], best[batches[0]]
    for batch in batches:
        if best[batch] > least * (1 + tolerance):
            break
        critical, least = batch, min(least, best[batch])
    return {
        "critical": critical,
        "is_bound": critical == batches[-1],
        "too_large": next((batch for batch in batches if batch > critical), None),
        "scores": {str(batch): best[batch] for batch in batches},
        "tolerance": tolerance,
    }


def propose_batches(critical: CriticalBatch | None, noise_tokens: float | None, row_tokens: int) -> list[int]:
    """Batches to try next, whole rows: around the critical one; where batches were not compared, the noise scale's.

    >>> propose_batches({"critical": 4096, "is_bound": False}, 9000.0, 256)
    [2048, 4096, 8192]
    >>> propose_batches({"critical": 4096, "is_bound": True}, None, 256)
    [4096, 8192, 16384]
    >>> propose_batches(None, 9000.0, 256), propose_batches(None, None, 256)
    ([4096, 8192, 16384], [])
    """
    if critical is not None:
        middle = critical["critical"] * (2 if critical["is_bound"] else 1)
    elif noise_tokens is not None:
        middle = row_tokens * 2 ** max(1, round(math.log2(max(noise_tokens / row_tokens, 1.0))))
    else:
        return []
    return [max(1, round(middle * factor / row_tokens)) * row_tokens for factor in (0.5, 1, 2)]
