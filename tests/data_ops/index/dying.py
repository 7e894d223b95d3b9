"""A process that keeps an index and dies by SIGKILL at a chosen act on its files."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterable
from typing import IO

from cluster.storage.store import Store
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder, IndexManifest
from data_ops.index.known_ids import KnownIds
from data_ops.index.known_sketches import KnownSketches, forget_sketches
from data_ops.index.sorted_file import FileFacts
from tests.data_ops.index.logs import Log, hashes
from tests.data_ops.index.sketch_logs import AGREEMENT, SketchLog

WINDOWS = 14
AT_ONCE = 300
GONE = [0, 31, 62]


class DyingFolder(IndexFolder):
    """Before and after whatever changes the files the process may die: at act number `acts`."""

    def __init__(self, store: Store, path: str, acts: int) -> None:
        super().__init__(store, path)
        self.acts = acts

    def _act(self) -> None:
        if self.acts == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.acts -= 1

    def write(self, write: Callable[[IO[bytes], str], FileFacts], kind: str = "ids") -> FileFacts:
        self._act()
        facts = super().write(write, kind)
        self._act()
        return facts

    def publish(self, number: int, manifest: IndexManifest) -> bool:
        self._act()
        published = super().publish(number, manifest)
        self._act()
        return published

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._act()
            super().delete([name])


def log() -> Log:
    return Log(hashes(7, [60] * WINDOWS))


def keep_index(path: str, acts: int) -> None:
    """Follow the log to its end, or die."""
    known = KnownIds(DyingFolder(Store.open(path), "index/ids", acts), str, AT_ONCE)
    for window in range(WINDOWS):
        log().follow(known, window)
        known.settle()
    told = [note for note in known.notes if "there was no index" not in note]  # it follows a log that is there
    if not known.contains(log().upto(WINDOWS - 1)).all() or told:
        raise ValueError(f"it lacks ids, or tells {known.notes}")


def sketch_log() -> SketchLog:
    return SketchLog(7, [30] * WINDOWS)


def open_sketches(path: str, acts: int, log: SketchLog) -> KnownSketches:
    return KnownSketches(DyingFolder(Store.open(path), KNOWN_SKETCHES, acts), log, AGREEMENT, AT_ONCE)


def keep_sketches(path: str, acts: int) -> None:
    """Follow the log to its end, or die."""
    log = sketch_log()
    log.reached = WINDOWS - 1
    known = open_sketches(path, acts, log)
    for window in range(WINDOWS):
        log.follow(known, window)
        known.settle()


def forget(path: str, acts: int) -> None:
    """Take three documents out of the files, or die."""
    log = sketch_log()
    log.reached, log.gone = WINDOWS - 1, GONE
    forget_sketches(DyingFolder(Store.open(path), KNOWN_SKETCHES, acts), log)


with tempfile.TemporaryDirectory() as _folder:  # compile the loops once, for all that are forked
    keep_index(_folder, -1)
    keep_sketches(_folder, -1)
    forget(_folder, -1)
