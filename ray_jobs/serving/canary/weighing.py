"""Do people rate the new checkpoint worse than the old one, whenever it is asked?

The statistics are the gate's (ray_jobs/evaluation/bounds.py): a level that is spent over looks, so that the answers to
all looks together are wrong with a chance of at most alpha, and Student's t, guarded as if one more unit had said the
worst. A unit is what was drawn to one side: a user, or a conversation, which counts once. Units weigh what their side
lacks in number, those of the old side with the other sign, so that their mean is the difference of the shares.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from ray_jobs.evaluation.bounds import SPAN_GUARD, least_items, level_of, upper

GROWTH = 1.25  # by how much a side has to have grown before it is looked at again: each look costs a part of the level


class Thumbs(msgspec.Struct, frozen=True):
    """What people said of one side; a unit counts once."""

    up: int = 0
    down: int = 0

    @property
    def count(self) -> int:
        """Number of units."""
        return self.up + self.down

    @property
    def down_share(self) -> float:
        """Share of them that were down."""
        return self.down / max(self.count, 1)

    def __add__(self, other: "Thumbs") -> "Thumbs":
        return Thumbs(self.up + other.up, self.down + other.down)


class Sides(msgspec.Struct, frozen=True):
    """What people said of the new checkpoint and of the old one."""

    new: Thumbs = Thumbs()
    old: Thumbs = Thumbs()

    def __add__(self, other: "Sides") -> "Sides":
        return Sides(self.new + other.new, self.old + other.old)


class Shown(StrEnum):
    """What a look has shown."""

    WORSE = "worse"  # by more than the margin
    WITHIN = "within"  # not worse by more than the margin
    UNCLEAR = "unclear"


class SidesCompared(NamedTuple):
    """A look's answer: bounds of how much larger the share of thumbs down is at the new checkpoint."""

    shown: Shown
    level: float
    low: float
    high: float


def look_is_due(sides: Sides, look: int, last: Sides | None, alpha: float) -> bool:
    """Say whether the look-th look (from 1) is to be taken: counts alone decide, never what was said."""
    least = least_items(level_of(look, alpha))
    if last is not None and sides.new.count < GROWTH * last.new.count and sides.old.count < GROWTH * last.old.count:
        return False
    return min(sides.new.count, sides.old.count) >= least


def compare_sides(sides: Sides, look: int, alpha: float, margin: float) -> SidesCompared:
    """Weigh both sides; alpha: what all looks may spend. margin: how much larger the share of thumbs down may be.

    >>> compare_sides(Sides(Thumbs(20, 80), Thumbs(700, 200)), 1, 0.05, 0.05).shown
    <Shown.WORSE: 'worse'>
    """
    level = level_of(look, alpha)
    low, high = -_highest(sides, level, -1.0), _highest(sides, level, 1.0)
    shown = Shown.WORSE if low > margin else Shown.WITHIN if high <= margin else Shown.UNCLEAR
    return SidesCompared(shown, level, low, high)


def sentence_of(weighed: SidesCompared, sides: Sides, look: int, margin: float) -> str:
    """Tell what a look has shown."""
    said = {Shown.WORSE: "people rate it worse", Shown.WITHIN: "it is not rated worse", Shown.UNCLEAR: "nothing shown"}
    return (
        f"{said[weighed.shown]}: {sides.new.down_share:.1%} thumbs down of {sides.new.count:,} against "
        f"{sides.old.down_share:.1%} of {sides.old.count:,}, {weighed.low:+.1%} to {weighed.high:+.1%} more, "
        f"margin {margin:.1%} (look {look}, level {weighed.level:.2g})"
    )


def _highest(sides: Sides, level: float, sign: float) -> float:
    """Bound sign * (share of thumbs down at the new checkpoint less that at the old one) from above."""
    new, old = sides.new, sides.old
    count, share = new.count + old.count, (new.down + old.down) / (new.count + old.count)
    weights = sign * count / np.array([new.count, new.count, -old.count, -old.count])
    said = weights * (np.array([1.0, 0.0, 1.0, 0.0]) - share)
    each = np.repeat(said, [new.down, new.up, old.down, old.up])
    freedom = min(new.count, old.count) - 1
    bound = upper(np.ones(count), each, level, guard=SPAN_GUARD, span=float(said.max()), freedom=freedom)
    return min(float(bound), 1.0)
