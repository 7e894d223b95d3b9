"""What does a memory promise that a store keeps as a cache of the lake?

It has the windows up to `window`, and says so; whoever uses it adds those behind. It may be given up at any time.
"""

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from cluster.storage.seal import DamagedError

MarkOf = Callable[[int], str | None]  # what a window of the lake is known by; None while it is not committed


class LakeLog(Protocol):
    """What the lake tells of itself to a memory that is kept beside it."""

    def mark(self, number: int, /) -> str | None:
        """What a window is known by; None while it is not committed."""
        ...

    def tombstones(self) -> pa.Table:
        """The ids whose text must go, in the order in which that was told; none ever leaves."""
        ...


class LostError(ValueError):
    """A kept memory had to be given up: the windows behind its `window` are to be added again, then the same asked."""


class DamagedIndexError(DamagedError):
    """A file of a kept memory is not what was written. The lake is not concerned."""


class Kept(Protocol):
    """A memory that a store keeps. Adding to it, asking it and `keep` may raise LostError."""

    window: int  # the last one that it has
    notes: list[str]  # what a person should be told

    def keep(self, window: int) -> None:
        """Take note that all windows up to this one were added; `window` may be another one afterwards."""
        ...
