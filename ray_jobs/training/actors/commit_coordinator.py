"""When does a checkpoint count? When all ranks of an attempt handed in their files, and the driver holds the lease."""

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.ingest.events import Warned
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import note_stand, record
from ray_jobs.checkpoints.position import StoredFile, TrainingState
from ray_jobs.checkpoints.retention import retain, retain_candidates
from ray_jobs.store.lease import Lease
from ray_jobs.store.paths import checkpoint_name
from ray_jobs.training.actors.event_log import EventLog
from ray_jobs.training.events import Committed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receipt:
    """A rank has written its file of a checkpoint of `run`: this run, or a decay branch of it."""

    run: str
    attempt: str
    rank: int
    world: int
    file: StoredFile
    state: TrainingState


class Claim(NamedTuple):
    """Who commits: a run, the lease under which it is driven, and how many of its checkpoints are kept."""

    run: str
    lease: Lease
    keep: int


class CommitCoordinator:
    """The receipts of one run, and the checkpoints that come of them; tells a log what it does."""

    def __init__(self, store: Store, lake: Lake, claim: Claim, log: EventLog) -> None:
        self.store, self.lake, self.log = store, lake, log
        self.run, self.lease, self.keep = claim
        self.ours: set[str] = set()  # names of what was committed here
        self.receipts: dict[tuple[str, int, str], dict[int, StoredFile]] = {}  # by run, step and attempt

    def begin_at(self, step: int | None) -> None:
        """Note in the ledger where the weights stand that training starts from; None: at the beginning."""
        if not self.lease.held(self.store):
            raise PermissionError(f"run {self.run} belongs to another driver now; this one trains nothing")
        if step is not None:
            note_stand(self.lake, commits.load(self.store, self.run, step), self.lease)
        elif read_stand(self.lake, self.run).checkpoint:
            state = json.dumps({"noted_by": self.lease.number})
            self.lake.add_ledger(
                self.run, {"step": 0, "round": 0, "step_in_round": 0, "checkpoint": "", "state": state}
            )

    def take(self, receipt: Receipt) -> bool:
        """Take a rank's receipt; True once the checkpoint is committed."""
        here = receipt.state.position
        if checkpoint_name(receipt.run, here.step) in self.ours and here.step in commits.commits(
            self.store, receipt.run
        ):
            return True  # a receipt that was asked for again, after the commit
        files = self.receipts.setdefault((receipt.run, here.step, receipt.attempt), {})
        files[receipt.rank] = receipt.file
        if len(files) < receipt.world:
            return False
        ordered = tuple(files[rank] for rank in range(receipt.world))
        state = msgspec.structs.replace(receipt.state, lease=self.lease.number)
        self.commit(commits.Commit(receipt.run, here.step, here.round, here.step_in_round, ordered, state))
        self.receipts = {
            key: files for key, files in self.receipts.items() if key[0] != receipt.run or key[1] > here.step
        }
        return True

    def commit(self, done: commits.Commit) -> None:
        """Make a checkpoint true, note it in the ledger and let old ones go."""
        if not self.lease.held(self.store):
            raise PermissionError(
                f"run {self.run} belongs to another driver now; checkpoint {done.name} of this one is not committed"
            )
        self._put_late_ones_aside()
        self._check_forward(done)
        if not commits.publish(self.store, done):
            self._put_late_ones_aside()
            if not commits.publish(self.store, done) and not self._is_there(done):
                logger.warning("checkpoint %s was committed before; this one is not", done.name)
                return
        self.ours.add(done.name)
        is_branch = done.run != self.run
        self.log.post([Committed(step=done.step, round=done.round, size_bytes=done.size_bytes, branch=is_branch)])
        try:  # it is committed, whatever becomes of the rest: the next start notes it, the next commit tidies up
            record(self.lake, done, self.lease)
            if is_branch:
                retain_candidates(self.store, self.run, self.keep)
            else:
                retain(self.store, self.run, self.keep)
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody may be told that it is not committed
            text = f"checkpoint {done.name} is committed, but not noted, or older ones could not be deleted: {error}"
            self.log.post([Warned(text=text)])

    def _is_there(self, done: commits.Commit) -> bool:
        """Is this very checkpoint committed, by this coordinator before it was killed and asked again?"""
        with suppress(*commits.DAMAGES):
            return commits.load(self.store, done.run, done.step).files == done.files
        return False

    def _put_late_ones_aside(self) -> None:
        """A driver that lost the run may commit once more: no such checkpoint may count, or crowd out one of ours."""
        if {checkpoint_name(self.run, step) for step in commits.commits(self.store, self.run)} - self.ours:
            for step in commits.put_overruled_aside(self.store, self.lease):
                self.log.post([Warned(text=f"checkpoint {step} is put aside: {commits.LATE}")])

    def _check_forward(self, done: commits.Commit) -> None:
        """Refuse a checkpoint that has more steps than the one before it but stands no further in the rounds."""
        before = commits.newest_readable(self.store, done.run)
        if before is None or done.step <= before.step:
            return
        if (done.round, done.step_in_round) <= (before.round, before.step_in_round):
            raise RuntimeError(
                f"checkpoint {done.name} is at step {done.step_in_round} of round {done.round}, not behind step "
                f"{before.step_in_round} of round {before.round} of {before.name}: work would be repeated; a defect"
            )
