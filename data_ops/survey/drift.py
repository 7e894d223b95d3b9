"""Does a rule drop another share of a source lately than before?

Windows are cut into blocks; the latest quarter of a source's blocks is compared with all before. The interval takes the
blocks as what varies (a ratio estimator; Cochran, Sampling Techniques, 1977, chapter 6), because documents of one
window resemble each other and are no independent draws; it is never narrower than independent draws would allow. Of
twenty rates that do not change about one is marked by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_ops.kernels.arrays import Floats

FEWEST = 3  # blocks on either side
#: Student's t at 97.5 % by degrees of freedom, from 2 on; a quarter of 64 blocks has 15.
T = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class Change:
    """Shares of records, latest and before, and a 95 % interval of the difference; blocks: how many are the latest."""

    latest: float
    before: float
    low: float
    high: float
    blocks: int

    @property
    def is_change(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Rate:
    """One reason of one source over time. shares[b]: of the records of block b; nan where the source has none there."""

    source: str
    reason: str
    fate: str
    shares: list[float]
    change: Change | None  # None where there are too few blocks to compare


def rates(blocks: pa.Table, num_blocks: int) -> list[Rate]:
    """The rate of each reason over time, by source and reason; blocks: `Corpus.blocks`."""
    read: dict[str, Floats] = {}
    lost: dict[tuple[str, str, str], Floats] = {}
    for row in blocks.select(["source", "block", "outcome", "reason", "records"]).to_pylist():
        read.setdefault(row["source"], np.zeros(num_blocks))[row["block"]] += row["records"]
        if row["outcome"] in ("dropped", "quarantined"):
            key = row["source"], row["reason"], row["outcome"]
            lost.setdefault(key, np.zeros(num_blocks))[row["block"]] += row["records"]
    found = []
    for source, reason, fate in sorted(lost):
        counts, all_read = lost[source, reason, fate], read[source]
        there = all_read > 0
        shares = np.divide(counts, all_read, out=np.full(num_blocks, np.nan), where=there)
        found.append(Rate(source, reason, fate, shares.tolist(), latest_change(counts[there], all_read[there])))
    return found


def latest_change(lost: Sequence[float] | Floats, read: Sequence[float] | Floats) -> Change | None:
    """Compare the latest quarter of blocks with those before; None with fewer than three on either side.

    lost, read: records of each block in order, read > 0.
    """
    lost, read = np.asarray(lost, float), np.asarray(read, float)
    latest = max(-(-len(read) // 4), FEWEST)
    if len(read) - latest < FEWEST:
        return None
    after, spread_after = _ratio(lost[-latest:], read[-latest:])
    before, spread_before = _ratio(lost[:-latest], read[:-latest])
    freedom = min(latest, len(read) - latest) - 1
    width = T[min(freedom, len(T) + 1) - 2] * math.sqrt(spread_after + spread_before)
    return Change(after, before, after - before - width, after - before + width, latest)


def _ratio(lost: Floats, read: Floats) -> tuple[float, float]:
    """The share of some blocks together, and its variance."""
    total, blocks = read.sum(), len(read)
    share = float(lost.sum() / total)
    between = float(((lost - share * read) ** 2).sum() / total**2 * blocks / (blocks - 1))
    smoothed = (lost.sum() + 1) / (total + 2)  # a share of 0 varies too
    return share, max(between, float(smoothed * (1 - smoothed) / total))
