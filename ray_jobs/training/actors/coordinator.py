"""Where do a run's processes meet: who reports, who commits, who says stop?

One actor per run. Workers post what they did and hand in receipts for checkpoint files; when every rank of an attempt
has handed in its receipt the board commits, and only while the driver still holds the lease. The driver reads the
events (for display, metrics and W&B) and posts the wish to stop. Nothing here is needed to resume.
"""

import json
import logging
import time
import uuid
from contextlib import suppress
from typing import Any

import msgspec
import ray

from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.ingest.events import Warned
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import note_stand, record
from ray_jobs.checkpoints.position import StoredFile, TrainingState
from ray_jobs.checkpoints.retention import retain
from ray_jobs.store.lease import Lease
from ray_jobs.training.events import Committed, Event

logger = logging.getLogger(__name__)

GO, CHECKPOINT, MOVE, STOP = 0, 1, 2, 3  # wishes; all but GO ask for a checkpoint first
DEAD_SECONDS = 10.0  # how long a worker may take to say that it is there


class Board:
    """Events, receipts and the wish to stop of one run. A Ray actor."""

    def __init__(self, store: str, run: str, keep: int, lease: Lease) -> None:
        self.store = Store.open(store)
        self.lake, self.run, self.keep, self.lease = Lake(self.store), run, keep, lease
        self.life = uuid.uuid4().hex  # a board that was restarted numbers its events anew
        self.events: list[Event] = []
        self.first = 0  # number of events[0]; what the driver has read is let go
        self.ours: set[int] = set()  # steps that were committed here
        self.receipts: dict[tuple[int, str], dict[int, StoredFile]] = {}
        self.wish = GO
        self.attempt = ""  # the worker group that trains
        self.workers: dict[int, Any] = {}  # its actors by rank
        self.nodes: set[str] = set()  # where they are
        self.heard_at: float | None = None  # when rank 0 last gave a sign of life; None: nothing to watch

    def post(self, events: list[Event]) -> None:
        """Take events from any process."""
        self.events += events

    def join(self, attempt: str, rank: int, worker: Any, node: str) -> None:
        """Take note of a worker that starts: its actor and the id of its node. Watched from its first beat on."""
        if attempt != self.attempt:
            self.attempt, self.workers, self.nodes = attempt, {}, set()
        self.workers[rank], self.heard_at = worker, None
        self.nodes.add(node)

    def where(self) -> set[str]:
        """Ids of the nodes with workers of the newest group."""
        return self.nodes

    def beat(self, events: list[Event]) -> int:
        """Take events from rank 0, whose sign of life this is; returns the driver's wish, those but STOP once."""
        self.post(events)
        self.heard_at = time.monotonic()
        wish, self.wish = self.wish, STOP if self.wish == STOP else GO
        return wish

    def leave(self) -> None:
        """Take note that rank 0 is done: its silence is no fault any more."""
        self.heard_at = None

    def end_hung_workers(self, seconds: float) -> bool:
        """Kill the workers if rank 0 is silent for so long though none of them died; Ray Train starts them again.

        A rank that is stopped or stuck holds up every other one in the next collective, so rank 0 speaks for all.
        """
        if self.heard_at is None or time.monotonic() - self.heard_at < seconds or not self.workers:
            return False  # a board that was restarted knows no workers until the next group joins
        self.heard_at = None
        asked = {rank: worker.__ray_ready__.remote() for rank, worker in self.workers.items()}
        answers, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=DEAD_SECONDS)
        if any(_failed(answer) for answer in answers):
            return False  # Ray Train knows
        stuck = sorted(rank for rank, answer in asked.items() if answer not in answers)
        who = f"worker {', '.join(map(str, stuck))} does not answer" if stuck else "all answer, but none goes on"
        text = f"no sign of life for {seconds:g} s ({who}); the workers are killed and started again"
        self.post([Warned(text=text)])
        for worker in self.workers.values():
            ray.kill(worker)
        return True

    def read(self, life: str, since: int) -> tuple[list[Event], str, int]:
        """Give the events from number `since` of that life on, and what to ask with next; older ones are let go."""
        if life == self.life:
            self.events = self.events[since - self.first :]
            self.first = since
        return self.events, self.life, self.first + len(self.events)

    def ask(self, wish: int) -> None:
        """Ask the workers for something after the step they are in; nothing takes back STOP."""
        self.wish = max(self.wish, wish)

    def stopping(self) -> bool:
        """Say whether the driver asked for the end."""
        return self.wish == STOP

    def stand(self, step: int | None) -> None:
        """Note in the ledger where the weights stand that training starts from; None: at the beginning."""
        if not self.lease.held(self.store):
            raise PermissionError(f"run {self.run} belongs to another driver now; this one trains nothing")
        if step is not None:
            note_stand(self.lake, commits.load(self.store, self.run, step), self.lease)
        elif read_stand(self.lake, self.run).checkpoint:
            note = {"step": 0, "round": 0, "step_in_round": 0, "checkpoint": ""}
            self.lake.add_ledger(self.run, {**note, "state": json.dumps({"noted_by": self.lease.number})})

    def receipt(
        self,
        run: str,
        attempt: str,
        rank: int,
        world_size: int,
        file: StoredFile,
        state: TrainingState,
    ) -> bool:
        """Take a rank's receipt for its file; True once the checkpoint is committed.

        run: this run, or a decay branch of it.
        """
        here = state.position
        files = self.receipts.setdefault((here.step, attempt), {})
        files[rank] = file
        if len(files) < world_size:
            return False
        ordered = tuple(files[r] for r in range(world_size))
        state = msgspec.structs.replace(state, lease=self.lease.number)
        self.commit(commits.Commit(run, here.step, here.round, here.step_in_round, ordered, state))
        del self.receipts[(here.step, attempt)]
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
        self.ours.add(done.step)
        self.post([Committed(step=done.step, round=done.round, size_bytes=done.size_bytes)])
        try:  # it is committed, whatever becomes of the rest: the next start notes it, the next commit tidies up
            record(self.lake, done, self.lease)
            if done.run == self.run:
                retain(self.store, self.run, self.keep)
        except OSError as error:
            text = f"checkpoint {done.name} is committed, but not noted, or older ones could not be deleted: {error}"
            self.post([Warned(text=text)])

    def _is_there(self, done: commits.Commit) -> bool:
        """Is this very checkpoint committed, by this board before it was killed and asked again?"""
        with suppress(*commits.DAMAGES):
            return commits.load(self.store, done.run, done.step).files == done.files
        return False

    def _put_late_ones_aside(self) -> None:
        """A driver that lost the run may commit once more: no such checkpoint may count, or crowd out one of ours."""
        if set(commits.commits(self.store, self.run)) - self.ours:
            for step in commits.put_overruled_aside(self.store, self.lease):
                text = f"checkpoint {step} is put aside: {commits.LATE}"
                self.post([Warned(text=text)])

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


def _failed(answer: Any) -> bool:
    try:
        ray.get(answer)
    except ray.exceptions.RayError:
        return True
    return False
