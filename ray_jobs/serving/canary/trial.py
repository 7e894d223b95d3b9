"""How long does a new champion answer a share of the conversations, and what ends that?

People's thumbs on its answers are compared with those on the old one's, by the gate's own bounds. Shown worse, the
pointer goes back; shown not to be worse, or not shown worse in `serve.canary.within`, it takes over. The side
of a conversation is a hash of the user, or of its beginning, so it stays there.
"""

import threading
import time
import uuid
from typing import NamedTuple

import xxhash

from ray_jobs.serving.canary.record import CanaryLook, CanaryOutcome, CanaryRecord, Ending
from ray_jobs.serving.canary.weighing import Shown, Sides, Thumbs, compare_sides, look_is_due, sentence_of
from ray_jobs.serving.feedback.held import HeldAnswer
from ray_jobs.serving.served import ServedCheckpoint


class TrialRules(NamedTuple):
    """Which share the new checkpoint answers, how much worse it may be rated, and how often all looks may be wrong."""

    share: float
    margin: float
    alpha: float


class CanaryTrial:
    """A new champion beside the old one. `takes` and `rate` are called by requests, `look` by the watch."""

    def __init__(
        self, record: CanaryRecord, ends_s: float, new: ServedCheckpoint, old: ServedCheckpoint, rules: "TrialRules"
    ) -> None:
        """ends_s: unix time at which it takes over unless it was shown worse."""
        self.new, self.old, self._record, self._ends_s, self._rules = new, old, record, ends_s, rules
        self._began_s = time.time()
        self._server, self._lock = uuid.uuid4().hex, threading.Lock()
        self._sides, self._written = Sides(), Sides()
        self._units = set[int | None]()  # that have said something: their first word counts

    def takes(self, key: str) -> bool:
        """Say whether the new checkpoint answers who has this key."""
        return xxhash.xxh3_64_intdigest(f"{self._record.name} {key}".encode()) < self._rules.share * 2.0**64

    def rate(self, answer: HeldAnswer, is_up: bool) -> None:
        """Count a thumb on an answer that was drawn to a side, if its unit has not said anything yet."""
        drawn = answer.unit is not None and answer.given_s >= self._began_s
        if not drawn or answer.checkpoint not in (self.new.name, self.old.name):
            return
        thumbs = Thumbs(int(is_up), int(not is_up))
        with self._lock:
            if answer.unit in self._units:
                return
            self._units.add(answer.unit)
            self._sides += Sides(new=thumbs) if answer.checkpoint == self.new.name else Sides(old=thumbs)

    def look(self, now_s: float) -> CanaryOutcome | None:
        """Look once, if it is due; what came of the canary, here or at another server. None: it goes on.

        A rollback is not written down yet: it is true once the pointer has moved (`settle`).
        """
        if (outcome := self._record.outcome()) is not None:
            return outcome
        self._share_thumbs()
        looks = self._record.looks()
        last = looks[-1] if looks else None
        if last is None or last.shown == Shown.UNCLEAR:
            last = self._weigh(last, len(looks) + 1) or last
        if last is not None and last.shown == Shown.WORSE:
            return self._ended(Ending.ROLLED_BACK, last.reason)
        if last is not None and last.shown == Shown.WITHIN:
            return self._record.end(self._ended(Ending.WHOLE, last.reason))
        if now_s >= self._ends_s:
            so_far = last.reason if last else "too few thumbs to look at"
            return self._record.end(self._ended(Ending.WHOLE, f"its time is over; {so_far}"))
        return None

    def settle(self, outcome: CanaryOutcome) -> None:
        """Write a rollback down, whose pointer has moved."""
        self._record.end(outcome)

    def _share_thumbs(self) -> None:
        with self._lock:
            sides = self._sides
        if sides != self._written:
            self._record.write_sides(self._server, sides)
            self._written = sides

    def _weigh(self, last: CanaryLook | None, number: int) -> CanaryLook | None:
        sides, rules = self._record.sides(), self._rules
        if not look_is_due(sides, number, last.sides if last else None, rules.alpha):
            return None
        weighed = compare_sides(sides, number, rules.alpha, rules.margin)
        look = CanaryLook(
            look=number,
            level=weighed.level,
            sides=sides,
            shown=weighed.shown,
            reason=sentence_of(weighed, sides, number, rules.margin),
            time_s=time.time(),
        )
        return look if self._record.add_look(look) else None  # another server has taken it, and acts on it

    def _ended(self, ending: Ending, reason: str) -> CanaryOutcome:
        return CanaryOutcome(ending=ending, reason=reason, against=self.old.name, time_s=time.time())
