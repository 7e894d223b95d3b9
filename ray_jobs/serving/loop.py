"""How do the answers that wait and those that go on share one processor?

One thread computes. In turns it reads a piece of the oldest prompt that is not read yet and adds a token to every text
that is, so that a long prompt holds nobody up for longer than a piece. A text belongs to the checkpoint that was in
service when it came and ends with it; while a champion changes, texts of two go on side by side.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from cluster.http.asgi import RefusedError
from models.measures.decoding import ChosenToken, GoingText
from ray_jobs.serving.served import ServedCheckpoint
from ray_jobs.serving.text import TextStream

logger = logging.getLogger(__name__)


class AnswerPart(NamedTuple):
    """What is new in an answer: text, and the tokens since the last; ended: stop, length, or failed."""

    number: int  # of the answer among those of its request
    piece: str
    tokens: tuple[ChosenToken, ...]
    ended: str | None = None


@dataclass(eq=False)
class OpenAnswer:
    """A text that goes on for a request; `tell` is called in the computing thread."""

    number: int  # among the answers of its request
    served: ServedCheckpoint
    text: GoingText
    shown: TextStream
    tell: Callable[[AnswerPart], None]
    is_cancelled: bool = False  # nobody waits for it any more
    num_told: int = field(default=0, init=False)

    def report(self) -> None:
        """Tell what is new."""
        tokens = tuple(self.text.tokens[self.num_told :])
        piece = "".join(self.shown.add(token.id) for token in tokens if not self.shown.is_stopped)
        self.num_told = len(self.text.tokens)
        if self.text.ended:
            piece += self.shown.end()
        if self.shown.is_stopped:
            self.text.ended = "stop"
        if tokens or self.text.ended:
            self.tell(AnswerPart(self.number, piece, tokens, self.text.ended))


class AnsweringLoop:
    """The thread that computes, and the queue before it."""

    def __init__(self, rows: int, most_waiting: int) -> None:
        """rows: answers that go on at once; most_waiting: those behind them, beyond which a request is refused."""
        self._rows, self._most_waiting = rows, most_waiting
        self._waiting, self._going = deque[OpenAnswer](), list[OpenAnswer]()
        self._changed, self._is_stopping = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, daemon=True, name="answers")

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def stop(self) -> None:
        """Compute no more; what goes on is left as it is."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def num_waiting(self) -> int:
        """How many answers wait."""
        return len(self._waiting)

    @property
    def num_going(self) -> int:
        """How many go on."""
        return len(self._going)

    def submit(self, answers: Sequence[OpenAnswer]) -> None:
        """Let a request's answers wait for their turn; RefusedError where too many do, or they are too many."""
        if len(answers) > self._most_waiting:
            raise RefusedError(f"{len(answers)} answers are more than the {self._most_waiting} that may wait", 400, "n")
        with self._changed:
            if self._waiting and len(self._waiting) + len(answers) > self._most_waiting:
                raise RefusedError(f"{len(self._waiting)} answers wait; come again in a second", 429)
            self._waiting.extend(answers)
            self._changed.notify()

    def uses(self, served: ServedCheckpoint) -> bool:
        """Does an answer of this checkpoint wait or go on?"""
        with self._changed:
            return any(answer.served is served for answer in (*self._waiting, *self._going))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_stopping and not self._waiting and not self._going:
                    self._changed.wait()
                if self._is_stopping:
                    return
                self._going = [one for one in self._going if not one.is_cancelled]
                while self._waiting and len(self._going) < self._rows:
                    if not (answer := self._waiting.popleft()).is_cancelled:
                        self._going.append(answer)
            self._turn()
            with self._changed:
                self._going = [one for one in self._going if one.text.ended is None]

    def _turn(self) -> None:
        unread = [one for one in self._going if not one.text.is_read]
        if unread:
            self._compute(unread[:1], partial(unread[0].served.decoder.read, unread[0].text))
        read = [one for one in self._going if one.text.is_read and one.text.ended is None]
        for served in dict.fromkeys(one.served for one in read):
            mine, rows = [one for one in read if one.served is served], served.decoder.rows
            for start in range(0, len(mine), rows):
                part = mine[start : start + rows]
                self._compute(part, partial(served.decoder.step, [one.text for one in part]))

    def _compute(self, answers: Sequence[OpenAnswer], work: Callable[[], None]) -> None:
        """Do it and tell what came of it; what cannot be computed fails these answers and no others."""
        try:
            work()
        except Exception:  # memory, a device, a kernel: its requests are told, the others go on
            logger.exception("answers of %s failed", answers[0].served.name)
            for answer in answers:
                answer.text.ended = "failed"
                answer.tell(AnswerPart(answer.number, "", (), "failed"))
            return
        for answer in answers:
            answer.report()
