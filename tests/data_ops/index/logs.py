"""A log of windows of ids that an index follows, as the histories follow the lake."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds


def folder_of(path: Path | str) -> IndexFolder:
    return IndexFolder(Store.open(str(path)))


def as_ids(rows: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.array(rows, np.uint64).reshape(-1, 2)


def hashes(seed: int, sizes: Sequence[int]) -> list[np.ndarray]:
    """Windows of ids as they are in a store."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2**64, (size, 2), np.uint64) for size in sizes]


class Log:
    """Windows of ids."""

    def __init__(self, windows: Sequence[np.ndarray]) -> None:
        self.windows, self.reached = windows, -1

    @property
    def num_ids(self) -> int:
        return sum(map(len, self.windows))

    def mark(self, window: int) -> str | None:
        """As of a lake that grows with who follows it."""
        return str(window) if window <= self.reached else None

    def upto(self, window: int) -> np.ndarray:
        return np.concatenate([np.empty((0, 2), np.uint64), *self.windows[: window + 1]])

    def follow(self, known: KnownIds, window: int, *, probe: bool = True) -> None:
        """Give an index the windows that it lacks, up to this one."""
        self.reached = max(self.reached, window)
        while known.window < window:
            ids = self.windows[known.window + 1]
            if probe:
                known.add_new(ids)
            else:
                known.recent.add_new(ids)  # asks no file
            known.keep(known.window + 1)
