"""Which messages are in our hands, and how do they stay hidden from others until what they tell of is durable?

A thread waits for new ones (twenty seconds a request, so an idle queue costs three requests a minute) and prolongs the
hiding of those that are held, also while a window runs. It holds at most MOST_HELD; the others wait in the queue. Who
is killed holds nothing: all that was not deleted comes again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from cluster.storage.retry import PATIENCE_S, is_transient
from data_ops.sources.files.notified.sqs import HIDDEN_S, SqsMessage

logger = logging.getLogger(__name__)
MOST_HELD = 1000
WAIT_S = 20  # the longest that SQS waits for a message
PAUSE_S = 1.0  # after an error, and while as many are held as may be


class Letters(Protocol):
    """What is asked of a queue."""

    def receive(self, wait_s: int) -> list[SqsMessage]:
        """Receive some messages."""
        ...

    def hide(self, receipts: list[str], seconds: int) -> None:
        """Hide messages for so long from now on."""
        ...

    def delete(self, receipts: list[str]) -> None:
        """Delete messages."""
        ...


class MessageBox:
    """The messages of one queue that this process has received and not deleted."""

    def __init__(self, queue: Letters, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: gives seconds that only grow."""
        self._queue = queue
        self._clock = clock
        self._held: dict[str, SqsMessage] = {}
        self._hidden_at: dict[str, float] = {}
        self._new: list[SqsMessage] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._failing_since: float | None = None
        self.error: OSError | None = None

    def turn(self, wait_s: int = 0) -> int:
        """Prolong what is due and receive once; how many messages came. OSError where the queue refuses."""
        self._prolong()
        with self._lock:
            if len(self._held) >= MOST_HELD:
                return 0
        asked = self._clock()
        messages = self._queue.receive(wait_s)
        with self._lock:
            for message in messages:
                if message.id not in self._held:
                    self._new.append(message)
                self._held[message.id] = message  # one that comes again has another receipt, and only the last counts
                self._hidden_at[message.id] = asked
        return len(messages)

    def _prolong(self) -> None:
        now = self._clock()
        with self._lock:
            due = [name for name, at in self._hidden_at.items() if now - at >= HIDDEN_S / 2]
            receipts = [self._held[name].receipt for name in due]
        if receipts:
            self._queue.hide(receipts, HIDDEN_S)
            with self._lock:
                self._hidden_at.update((name, now) for name in due if name in self._held)

    def take(self) -> list[SqsMessage]:
        """Hand out the messages that came since the last call; they stay held."""
        with self._lock:
            new, self._new = self._new, []
            return new

    def delete(self, names: Iterable[str]) -> None:
        """Delete messages by id. OSError where that fails; then they are still held, and it may be tried again."""
        with self._lock:
            held = [name for name in names if name in self._held]
            receipts = [self._held[name].receipt for name in held]
        if not receipts:
            return
        self._queue.delete(receipts)
        with self._lock:
            for name in held:
                self._held.pop(name, None)
                self._hidden_at.pop(name, None)

    def start(self) -> None:
        """Let a thread take turns until `close`."""
        threading.Thread(target=self._run, name="messages", daemon=True).start()

    def close(self) -> None:
        """End the thread after its request; what is held comes again, at once where the queue can be told so."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                came = self.turn(WAIT_S)
                self._failing_since = None
            except OSError as error:
                if not self._is_borne(error):
                    self.error = error
                    break
                came = 0
            if not came and (self._failing_since is not None or len(self._held) >= MOST_HELD):
                self._closed.wait(PAUSE_S)
        try:
            with self._lock:
                receipts = [message.receipt for message in self._held.values()]
            self._queue.hide(receipts, 0)
        except OSError as error:
            logger.debug("messages come again later: %s", error)

    def _is_borne(self, error: OSError) -> bool:
        """Say whether another try may succeed, and was not made for too long."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
            logger.warning("notifications are asked for again (%s)", error)
        return is_transient(error) and now - self._failing_since < PATIENCE_S
