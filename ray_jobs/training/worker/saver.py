"""How does a worker commit without stopping: a copy in memory, then files and receipts from a thread?

All ranks snapshot at the same step, which stalls them for a copy to host memory. A thread writes the rank's file into
this attempt's own folder and hands the receipt to the coordinator, which commits when it has all of them. A checkpoint
that cannot be written (a full disk) is told and tried again at the next turn; only the last one of a run must succeed.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.runtime.actors import Handle
from cluster.storage.store import Store
from data_ops.ingest.events import Warned
from models.engine import checkpoint
from models.engine.average import WeightAverage
from models.engine.engine import Engine
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Position, StoredFile, TrainingState
from ray_jobs.store.paths import checkpoint_folder
from ray_jobs.training.actors.commit_coordinator import Receipt
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.events import Event, SnapshotTaken
from ray_jobs.training.worker.collectives import all_reduce_max

COMMIT_TRIES, COMMIT_SECONDS = 4, 30.0  # how often and how long the last commit is waited for
ALIVE_SECONDS = 1.0  # between two signs of life while a checkpoint is waited for


class NotWrittenError(OSError):
    """A checkpoint that had to be written could not; every rank raises it at once."""


@dataclass(frozen=True)
class Author:
    """Who writes: one rank of one attempt at a run, and how it describes a position with its probe loss.

    average: of the weights, if one is kept with them.
    """

    store: Store
    run: str
    attempt: str
    rank: int
    world: int
    describe: Callable[[Position, float], TrainingState]
    average: WeightAverage | None = None


@dataclass(frozen=True)
class Link:
    """Whom a saver tells: the coordinator of receipts; and, from the training thread, of events and signs of life."""

    coordinator: Handle[Coordinator]
    report: Callable[[Event], None]
    alive: Callable[[], None]


class Saver:
    """The checkpoints of one rank on one line of training."""

    def __init__(self, author: Author, engine: Engine, link: Link, every_seconds: float, saved_step: int) -> None:
        self.author, self.engine, self.link = author, engine, link
        self.every_seconds, self.last_saved = every_seconds, time.monotonic()
        self.thread: threading.Thread | None = None
        self.failure: str | None = None
        self.tries = 0  # to write the last checkpoint; each in a folder of its own, for the one before may be committed
        self.receipt: Receipt | None = None
        self.buffers: checkpoint.Snapshot | None = None
        self.first_step = self.last_step = saved_step  # what training started from needs no checkpoint

    def due(self) -> bool:
        """Is it time for a checkpoint, and is the one before done?"""
        late = time.monotonic() - self.last_saved >= self.every_seconds
        return late and (self.thread is None or not self.thread.is_alive())

    def save(self, position: Position) -> None:
        """Snapshot the state now and write it in the background; all ranks call it at the same step."""
        if position.step == self.last_step:
            return
        self._join()
        began = time.perf_counter()
        average = self.author.average
        self.buffers = checkpoint.snapshot(self.engine, self.buffers, average.mean if average else ())
        state = self.author.describe(position, self.engine.probe())
        stall = time.perf_counter() - began
        self.thread = threading.Thread(target=self._write, args=(self.buffers, position.step, state), daemon=True)
        self.thread.start()
        self.last_saved, self.last_step = time.monotonic(), position.step
        self.link.report(SnapshotTaken(step=position.step, checkpoint_stall_s=stall))

    def finish(self, position: Position) -> None:
        """Save what is not saved yet and wait until it is handed in; OSError if that is impossible."""
        if position.step == self.first_step:
            return
        self.save(position)
        self._join()
        if self._failed_anywhere():  # a disk may have been freed meanwhile
            self.tries, self.last_step = self.tries + 1, -1
            self.save(position)
            self._join()
        if self._failed_anywhere():
            raise NotWrittenError(
                f"the last checkpoint, step {position.step}, could not be written; free space and run again"
            )
        self._wait_for_commit(position.step)

    def _failed_anywhere(self) -> bool:
        """Whether any rank has not saved its last step; all ranks call it: all save it again or none."""
        return all_reduce_max(int(self.last_step < 0)) > 0

    def _wait_for_commit(self, step: int) -> None:
        """Wait until the manifest is there; a coordinator that was restarted meanwhile gets the receipt again."""
        author = self.author
        for _ in range(COMMIT_TRIES):
            deadline = time.monotonic() + COMMIT_SECONDS
            while time.monotonic() < deadline:
                if step in commits.commits(author.store, author.run):
                    return
                self.link.alive()
                time.sleep(0.05)
            if self.receipt is not None:
                self.link.coordinator.call(Coordinator.receipt, self.receipt).get()
        raise OSError(f"checkpoint {author.run}/{step} was not committed, for a worker's receipt is missing; run again")

    def _join(self) -> None:
        """Wait for the writer; what went wrong with it is told, and its step is not saved."""
        if self.thread is not None:
            while self.thread.is_alive():
                self.thread.join(ALIVE_SECONDS)
                self.link.alive()
        if self.failure is not None:
            who = f"worker {self.author.rank} says: {self.failure}"
            text = f"checkpoint {self.last_step} was not committed and will be tried again; {who}"
            self.link.coordinator.call(Coordinator.post, [Warned(text=text)]).get()  # of any rank, not of rank 0 alone
            self.failure, self.last_step = None, -1

    def _write(self, snapshot: checkpoint.Snapshot, step: int, state: TrainingState) -> None:
        author = self.author
        attempt = author.attempt + "-again" * self.tries
        path = f"{checkpoint_folder(author.run, step, attempt)}/rank-{author.rank:05d}.safetensors"
        scratch = Path(tempfile.mkdtemp(prefix="headrace-"))
        try:
            local = author.store.local_path(path)
            place = local or scratch / "part.safetensors"
            place.parent.mkdir(parents=True, exist_ok=True)
            written = snapshot.write(place)
            if local is None:
                author.store.upload(place, path)
            file = StoredFile(path, written.size_bytes, written.sha256, written.header)
            self.receipt = Receipt(author.run, attempt, author.rank, author.world, file, state)
            self.link.coordinator.call(Coordinator.receipt, self.receipt).get()
        except Exception as error:  # noqa: BLE001 - whatever stopped this thread, the step is not saved
            self.failure = " ".join(str(error).split())[-300:]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
