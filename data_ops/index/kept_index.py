"""How does an index stay small in memory, right after every kill, and cheap to open?

Only the last windows lie in memory: now and then these are written into sorted files, and files of like size are
merged, four and more into one, beside the work. An index is a cache of the lake and has the windows up to `window`: the
caller adds what is behind. So a start opens a few files and reads a few windows. Where the files are gone, damaged, or
of another lake, `window` is -1 and all is added again, which is told once.

What an answer depends on is what was added, never on files, merges or other processes that keep the same index.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from threading import Thread

from cluster.storage.seal import DamagedError
from data_ops.index.folder import IndexFolder, IndexManifest
from data_ops.index.kept import DamagedIndexError, LostError, MarkOf
from data_ops.index.sorted_file import FileFacts, SortedFile
from data_ops.index.sorted_writer import merge, write_rows
from data_ops.kernels.sorted_rows import Rows

WINDOW_WEIGHT = 256  # documents that cost as much to read at a start as one more window
FANOUT = 4  # files of like size that are merged
MOST_LOSSES = 2  # of one process, before its disk is to blame


class KeptIndex(ABC):
    """Rows of all documents added, kept in a store up to a window; what they mean is the business of who inherits.

    mark_of: what the window is known by in the lake, so that files of another lake are not taken for this one's.
    at_once: how many documents are held in memory before they are written; a window counts as 256 of them.
    """

    def __init__(self, folder: IndexFolder, mark_of: MarkOf, at_once: int) -> None:
        self.folder, self.mark_of, self.at_once = folder, mark_of, at_once
        self.notes: list[str] = []  # what a person should be told
        self._merging: tuple[list[SortedFile], Future[FileFacts]] | None = None
        self.number, self._named, self._losses = -1, frozenset[str](), 0
        self._open()

    @abstractmethod
    def _begin(self) -> None:
        """Begin with nothing in memory."""

    @abstractmethod
    def _num_recent(self) -> int:
        """How many documents lie in memory."""

    @abstractmethod
    def _recent_rows(self) -> Mapping[str, Rows]:
        """Their rows, at least one of each kind of file."""

    def keep(self, window: int) -> None:
        """Take note that the documents of all windows up to this one were added; now and then they are written.

        `window` is another one afterwards where another process has kept the index meanwhile: its files count.
        Raises LostError where a file is damaged.
        """
        self.window = window
        if self._merging and self._merging[1].done():
            (old, future), self._merging = self._merging, None
            self._try(lambda: self._take_merged(old, future.result()))
        if self._weight() >= self._due:
            self._try(self._write_recent)
        if not self._merging and not self._paused and (old := alike(self.files)):
            write = partial(self.folder.write, partial(merge, old), old[0].facts.kind)
            self._merging = old, _beside(write)

    def settle(self) -> None:
        """Wait until the merges that are due are done."""
        while self._merging:
            wait([self._merging[1]])
            self.keep(self.window)

    def _open(self) -> None:
        """Take the files of the newest manifest, and forget what is in memory."""
        self._forget()
        while (number := self.folder.newest()) >= 0:
            self.number = number
            try:
                manifest = self.folder.read(number)
                self._named = frozenset(facts.name for facts in manifest.files)
                self._check(manifest)
                self.files = [self.folder.open(facts) for facts in manifest.files]
            except (DamagedIndexError, OSError) as error:  # a copy of a bucket's file may find no room
                if self.folder.newest() != number:
                    continue  # another process has made the next one in this moment
                self._forget()
                self._tell_loss(error)
                return
            self.window = self.written = manifest.window
            self.mark, self.forgotten = manifest.mark, (manifest.forgotten, manifest.forgotten_sum)
            self.folder.clean(self._named)
            return

    def _check(self, manifest: IndexManifest) -> None:
        """Raise DamagedIndexError for the manifest of another lake."""
        check_mark(manifest, self.mark_of(manifest.window))

    def _forget(self) -> None:
        self._begin()
        self.files = list[SortedFile]()
        self.window, self.written, self.mark, self.forgotten = -1, -1, "", (0, 0)
        self._due, self._paused = self.at_once, False

    def _lost(self, error: DamagedIndexError) -> ValueError:
        """Give up what there is; what to raise."""
        self._forget()
        self._tell_loss(error)
        self._losses += 1
        if self._losses > MOST_LOSSES:
            return DamagedError(
                f"{self.folder} was damaged {self._losses} times since this start ({error}); its disk does not give "
                "back what is written: move the store to another one"
            )
        return LostError(str(self.folder))

    def _tell_loss(self, error: Exception) -> None:
        why = "a file of it is gone" if isinstance(error, FileNotFoundError) else error
        self.notes.append(f"the index {self.folder} is built again from the lake: {why}")

    def _weight(self) -> int:
        """What a start would have to read again, in documents."""
        return self._num_recent() + WINDOW_WEIGHT * (self.window - self.written)

    def _write_recent(self) -> None:
        """Write what lies in memory as files."""
        if (mark := self.mark_of(self.window)) is None:
            return  # a file may not be ahead of the lake
        files = list(self.files)
        if self._num_recent():
            for kind, rows in self._recent_rows().items():
                files.append(self.folder.open(self.folder.write(partial(write_rows, rows), kind)))
        if self._publish(files, self.window, mark):
            self._begin()
            self._due, self._paused = self.at_once, False

    def _take_merged(self, old: Sequence[SortedFile], merged: FileFacts) -> None:
        """Put a merged file in the place of those it was made of, unless another process was first."""
        if all(file in self.files for file in old):
            files = [file for file in self.files if file not in old]
            self._publish([self.folder.open(merged), *files], self.written, self.mark)
        else:
            self.folder.delete([merged.name])

    def _publish(self, files: list[SortedFile], window: int, mark: str) -> bool:
        """Let these files count; False where another process has made a manifest meanwhile, which counts then."""
        names, before = frozenset(file.facts.name for file in files), self._named
        manifest = IndexManifest(window, mark, tuple(file.facts for file in files), *self.forgotten)
        if not self.folder.publish(self.number + 1, manifest):
            self._open()
            self.folder.delete(names - before - self._named)  # a bucket may deny what it has done: then it is ours
            return False
        if self.number < 0 and self.mark_of(window + 1) is not None:
            self.notes.append(f"there was no index {self.folder}: it is built from the lake, once")
        self.folder.delete(self._named - names)
        self.files, self.written, self.mark = files, window, mark
        self.number, self._named = self.number + 1, names
        return True

    def _try(self, act: Callable[[], None]) -> None:
        """Do something for the files, and put it off where they cannot be written: what is known stays in memory."""
        try:
            act()
        except DamagedIndexError as error:
            raise self._lost(error) from error
        except OSError as error:
            self._due, self._paused = self._weight() + self.at_once, True
            self.notes.append(f"the index {self.folder} cannot be written; a start reads more of the lake ({error})")


def check_mark(manifest: IndexManifest, mark: str | None) -> None:
    """Raise DamagedIndexError if the last window of an index is not the one that the lake knows by this mark."""
    if mark is None:
        raise DamagedIndexError(f"it is ahead of the lake, which has no window {manifest.window}")
    if mark != manifest.mark:
        raise DamagedIndexError(f"it is of another lake, whose window {manifest.window} is not the same")


def _beside(act: Callable[[], FileFacts]) -> "Future[FileFacts]":
    """Do something in a thread that no exit of the process waits for: its file counts only when it is named."""
    future: Future[FileFacts] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001 - `result` raises it again
            future.set_exception(error)

    Thread(target=run, name="merge-index", daemon=True).start()
    return future


def alike(files: Sequence[SortedFile]) -> list[SortedFile]:
    """The smallest files of one kind and of like size, within a factor of four, if there are at least four of them."""
    tiers: dict[tuple[int, str], list[SortedFile]] = {}
    for file in files:
        tiers.setdefault(((file.facts.num_rows.bit_length() + 1) // 2, file.facts.kind), []).append(file)
    return next((tiers[tier] for tier in sorted(tiers) if len(tiers[tier]) >= FANOUT), [])
