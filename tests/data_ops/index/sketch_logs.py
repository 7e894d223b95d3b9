"""A log of windows of sketches that an index follows, and what a plain comparison of all with all says of it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.storage.store import Store
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
from data_ops.index.known_sketches import KnownSketches
from data_ops.kernels.arrays import array_to_ids
from data_ops.kernels.near_index import FAMILY
from data_ops.kernels.texts.minhash import NUM_BANDS, NUM_HASHES

AGREEMENT = 90
WIDE = NUM_HASHES // NUM_BANDS


def folder_of(path: Path | str) -> IndexFolder:
    return IndexFolder(Store.open(str(path)), KNOWN_SKETCHES)


class SketchLog:
    """Windows of documents, some of which were forgotten. Many share bands, some are alike."""

    def __init__(self, seed: int, sizes: Iterable[int], templates: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.sizes = list(sizes)
        count = sum(self.sizes)
        self.ids = rng.integers(0, 2**64, (count, 2), np.uint64)
        kinds = rng.integers(0, 256, (templates, NUM_HASHES), np.uint8)
        self.signatures = kinds[rng.integers(0, templates, count)]
        strange = rng.random(self.signatures.shape) < rng.choice([0.02, 0.15, 0.4, 1.0], (count, 1))
        self.signatures[strange] = rng.integers(0, 256, int(strange.sum()), np.uint8)
        words = self.signatures.reshape(-1, WIDE).copy().view(np.uint64).reshape(-1, NUM_BANDS)
        self.bands = (words + np.arange(NUM_BANDS, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        self.ends = np.cumsum([0, *self.sizes])
        self.gone: list[int] = []
        self.reached = -1

    def mark(self, number: int) -> str | None:
        return str(number) if number <= self.reached else None

    def tombstones(self) -> pa.Table:
        return pa.table({"id": array_to_ids(self.ids[self.gone])})

    def part(self, window: int) -> np.ndarray:
        """Numbers of the documents of a window whose texts are there."""
        numbers = np.arange(self.ends[window], self.ends[window + 1])
        return numbers[~np.isin(numbers, self.gone)]

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.ids[numbers, 0].copy(), self.signatures[numbers], self.bands[numbers]

    def follow(self, known: KnownSketches, window: int) -> None:
        """Give an index the windows that it lacks, up to this one."""
        self.reached = max(self.reached, window)
        while known.window < window:
            known.add(*self.of(self.part(known.window + 1)))
            known.keep(known.window + 1)

    def plain(self, window: int) -> "Plain":
        """What a reader of all windows up to one knows."""
        found = Plain(self)
        found.numbers = [int(number) for each in range(window + 1) for number in self.part(each)]
        return found


class Plain:
    """The same answers, said as simply as they can be."""

    def __init__(self, log: SketchLog) -> None:
        self.log, self.numbers = log, list[int]()

    def knows(self, number: int) -> bool:
        log = self.log
        for band in range(NUM_BANDS):
            same = [other for other in self.numbers if log.bands[other, band] == log.bands[number, band]]
            family = sorted(same, key=lambda other: log.ids[other, 0])[:FAMILY]
            if any((log.signatures[other] == log.signatures[number]).sum() >= AGREEMENT for other in family):
                return True
        return False

    def look(self, numbers: Iterable[int]) -> list[bool]:
        return [self.knows(int(number)) for number in numbers]

    def add(self, numbers: Iterable[int]) -> list[bool]:
        new = []
        for number in numbers:
            new.append(not self.knows(int(number)))
            self.numbers.append(int(number))
        return new
