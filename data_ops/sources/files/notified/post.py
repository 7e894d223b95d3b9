"""What becomes of a message from its arrival until it is deleted?

It waits for the objects that it names; one that names none of ours waits for nothing, and one that is no notification
waits until it is quarantined. Before `begin` nothing is received.
"""

import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from cluster.storage.buckets import ListedObject
from data_ops.sources.files.listing import is_named, object_state, split_pattern
from data_ops.sources.files.notified.config import NotificationsConfig
from data_ops.sources.files.notified.messagebox import MessageBox
from data_ops.sources.files.notified.messages import NamedObject, read_notification
from data_ops.sources.files.notified.sqs import SqsMessage, SqsQueue
from data_ops.sources.protocol import Untaken


@dataclass
class Delivery:
    """What new messages say: objects of ours by partition, those that are not read, and what a person should know."""

    named: dict[str, NamedObject] = field(default_factory=dict)
    passed: list[Untaken] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Post:
    """The messages of the queue of one source that this process holds."""

    def __init__(self, label: str, patterns: Sequence[str], notifications: NotificationsConfig) -> None:
        self.label = label
        self._patterns = tuple(patterns)
        self._buckets = {split_pattern(pattern)[1].split("/")[0] for pattern in patterns}
        self._url = notifications.queue
        self._queue = SqsQueue(notifications)
        self._box: MessageBox | None = None
        self._waiting: dict[str, frozenset[str]] = {}  # message id -> partitions that it names
        self.strange: dict[str, SqsMessage] = {}  # by id: to be quarantined

    def begin(self) -> list[str]:
        """Receive all there is, and let a thread go on; what a person should know of the queue."""
        has_end = "RedrivePolicy" in self._queue.attributes()
        self._box = box = MessageBox(self._queue)
        while box.turn():
            pass
        box.start()
        weakref.finalize(self, box.close)
        advice = (
            f"queue {self._url} has no dead letter queue, so a message that cannot be deleted comes for ever; set "
            "its RedrivePolicy (docs/buckets.md)"
        )
        return [] if has_end else [advice]

    def receive(self, recent: Collection[str]) -> Delivery:
        """Read the messages that came. recent: ids of those that were quarantined and come again.

        OSError where the queue has refused us, or has not answered for two minutes.
        """
        delivery = Delivery()
        if self._box is None:
            return delivery
        if self._box.error is not None:
            raise self._box.error
        for message in self._box.take():
            notice = read_notification(message.body)
            if notice.problem and message.id not in recent:
                self.strange[message.id] = message
                delivery.warnings.append(
                    f"sources.{self.label}: message {message.id} of the queue is no notification of S3 and is "
                    f"quarantined ({notice.problem})"
                )
            ours = {f"s3://{each.bucket}/{each.key}": each for each in notice.objects if self._is_ours(each, delivery)}
            self._waiting[message.id] = frozenset(ours)
            delivery.named |= ours
        return delivery

    def _is_ours(self, named: NamedObject, delivery: Delivery) -> bool:
        """Say whether a listing would find such an object; another bucket's is told."""
        if named.bucket not in self._buckets:
            delivery.warnings.append(
                f"sources.{self.label}: the queue also brings notifications of bucket {named.bucket}, which path does "
                "not name; they are deleted, for a queue is one source's"
            )
            return False
        listed = ListedObject(named.key, named.size_bytes, 0)

        def is_wanted(path: str) -> bool:
            return is_named(self._patterns, f"s3://{path}")

        return object_state(named.bucket, listed, is_wanted, delivery.passed) is not None

    def settle(self, recent: Collection[str]) -> None:
        """Take in which messages are durable as quarantined."""
        for name in self.strange.keys() & set(recent):
            del self.strange[name]

    def release(self, is_open: Callable[[str], bool]) -> None:
        """Delete the messages that wait for nothing any more. OSError where that fails; it may be tried again.

        is_open: whether more is to be had of a partition.
        """
        if self._box is None:
            return
        over = [n for n, named in self._waiting.items() if n not in self.strange and not any(map(is_open, named))]
        self._box.delete(over)
        for name in over:
            del self._waiting[name]

    def check(self) -> str | None:
        """Say what is wrong with the queue; None if nothing is."""
        try:
            self._queue.attributes()
        except OSError as error:
            return str(error)
        return None
