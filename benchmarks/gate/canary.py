"""How often is a canary rolled back that is not worse, and how soon one that is?

`python -m benchmarks.gate.canary [--series 2000] [--write FILE.md]` asks the rule itself, at every look that it takes
while thumbs arrive.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from ray_jobs.serving.canary.weighing import Shown, Sides, Thumbs, compare_sides, look_is_due

ALPHA, MARGIN = 0.05, 0.05
LOOKED = 10  # units that say something between two looks of the server
UNITS = 5000  # that say something before time is over


@dataclass(frozen=True)
class Cell:
    """A truth: the share of thumbs down at the old checkpoint, how much larger it is at the new one, and the share."""

    old: float
    worse_by: float
    share: float


@dataclass(frozen=True)
class Ended:
    """What came of many canaries: how many were rolled back, and behind how many units; how many took over early."""

    series: int
    rolled_back: list[int]
    whole: int

    @property
    def share(self) -> float:
        """Share of them that were rolled back."""
        return len(self.rolled_back) / self.series


def simulate(cell: Cell, series: int, seed: int) -> Ended:
    """Play canaries of one truth."""
    rng, back, whole = np.random.default_rng(seed), list[int](), 0
    for _ in range(series):
        shown, count = _play(cell, rng)
        if shown == Shown.WORSE:
            back.append(count)
        whole += shown == Shown.WITHIN
    return Ended(series, back, whole)


def _play(cell: Cell, rng: np.random.Generator) -> tuple[Shown, int]:
    is_new = rng.random(UNITS) < cell.share
    is_down = rng.random(UNITS) < np.where(is_new, cell.old + cell.worse_by, cell.old)
    sums = [np.cumsum(one) for one in (is_new & ~is_down, is_new & is_down, ~is_new & ~is_down, ~is_new & is_down)]
    last, look = None, 1
    for count in range(LOOKED, UNITS + 1, LOOKED):
        up, down, old_up, old_down = (int(one[count - 1]) for one in sums)
        sides = Sides(Thumbs(up, down), Thumbs(old_up, old_down))
        if not look_is_due(sides, look, last, ALPHA):
            continue
        shown = compare_sides(sides, look, ALPHA, MARGIN).shown
        if shown != Shown.UNCLEAR:
            return shown, count
        last, look = sides, look + 1
    return Shown.UNCLEAR, UNITS


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--write", type=Path, help="write the page there")
    given = parser.parse_args()
    lines = [
        f"# How often a canary is rolled back ({time.strftime('%Y-%m-%d')})",
        "",
        f"`python -m benchmarks.gate.canary --series {given.series}`: margin {MARGIN:.0%}, all looks together wrong at "
        f"most {ALPHA:.0%}; a look is tried whenever {LOOKED} more units (users, conversations) have said something, "
        f"up to {UNITS:,} of them on both sides. {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}.",
        "",
        "| thumbs down, old | new | share | canaries | rolled back | behind units (median) | took over early |",
        "|---|---|---|---|---|---|---|",
    ]
    for share in (0.1, 0.5):
        for old in (0.05, 0.2, 0.5):
            for worse_by in (0.0, MARGIN, 0.1, 0.2, 0.4):
                series = given.series if worse_by <= MARGIN else max(given.series // 10, 50)
                ended = simulate(Cell(old, worse_by, share), series, seed=1)
                units = f"{median(ended.rolled_back):,.0f}" if ended.rolled_back else ""
                lines.append(
                    f"| {old:.0%} | {old + worse_by:.0%} | {share:.0%} | {series:,} | {ended.share:.4f} | {units} | "
                    f"{ended.whole / series:.3f} |"
                )
                print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if given.write:
        given.write.write_text(text)


if __name__ == "__main__":
    main()
