"""Where do a run's processes meet: who reports, who commits, who says stop?

One actor per run, a thin one: the event log, the commit coordinator, the liveness watch and the mailbox behind it are
plain objects. Workers post what they did and hand in receipts for checkpoint files; the driver reads the events (for
display, metrics and W&B) and posts its directives. Nothing here is needed to resume.
"""

from collections.abc import Sequence

from cluster.runtime.actors import Remote
from cluster.storage.store import Store
from data_ops.ingest.events import Warned
from data_ops.lake.lake import Lake
from ray_jobs.training.actors.commit_coordinator import Claim, CommitCoordinator, Receipt
from ray_jobs.training.actors.directives import Mailbox
from ray_jobs.training.actors.event_log import EventLog, Reading
from ray_jobs.training.actors.liveness import LivenessWatch
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Event


class Coordinator:
    """Events, receipts, signs of life and directives of one run. A Ray actor; every method may be repeated."""

    def __init__(self, store: str, claim: Claim) -> None:
        opened = Store.open(store)
        self.log, self.watch, self.mailbox = EventLog(), LivenessWatch(), Mailbox()
        self.commits = CommitCoordinator(opened, Lake(opened), claim, self.log)

    def post(self, events: Sequence[Event]) -> None:
        """Take events from any process."""
        self.log.post(events)

    def read(self, life: str, since: int) -> Reading:
        """Return the events numbered `since` and later, and the cursor for the next call; see EventLog.read."""
        return self.log.read(life, since)

    def join(self, attempt: str, rank: int, worker: Remote[object], node: str) -> None:
        """Take note of a worker that starts: its actor and the id of its node."""
        self.watch.join(attempt, rank, worker, node)

    def nodes(self) -> set[str]:
        """Ids of the nodes with workers of the newest group."""
        return self.watch.nodes

    def beat(self, events: Sequence[Event]) -> Directive:
        """Take events from rank 0, whose sign of life this is; returns the driver's directive."""
        self.log.post(events)
        self.watch.beat()
        return self.mailbox.take()

    def leave(self) -> None:
        """Take note that rank 0 is done."""
        self.watch.leave()

    def end_hung_workers(self, seconds: float) -> None:
        """Kill the worker group if rank 0 is silent for `seconds` although no worker died."""
        if text := self.watch.end_hung(seconds):
            self.log.post([Warned(text=text)])

    def ask(self, directive: Directive) -> None:
        """Ask the workers for something behind the step they are in."""
        self.mailbox.put(directive)

    def stopping(self) -> bool:
        """Did the driver ask for the end?"""
        return self.mailbox.is_stopping

    def begin_at(self, step: int | None) -> None:
        """Note in the ledger where the weights stand that training starts from; None: at the beginning."""
        self.commits.begin_at(step)

    def receipt(self, receipt: Receipt) -> bool:
        """Take a rank's receipt for its file; True once the checkpoint is committed."""
        return self.commits.take(receipt)
