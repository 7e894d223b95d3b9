"""Does what waits ask for a run now, and why? Pure: it is told what waits, what was started, and what time it is."""

from typing import Literal, NamedTuple

import msgspec

from ray_jobs.config.blocks import TriggerConfig
from ray_jobs.outcome import OK, STOPPED

BYTES_A_TOKEN = 4  # of text, about; nothing is tokenised by looking
UNSEEN = -1  # the code of a start whose end nobody saw
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 3600.0
Reason = Literal["tokens", "documents", "bytes", "every", "again"]


class FreshText(msgspec.Struct, frozen=True):
    """Text that no start has been for yet: in the lake, and behind it in the sources."""

    documents: int = 0
    num_bytes: int = 0

    @property
    def tokens(self) -> int:
        """About how many tokens that is."""
        return self.num_bytes // BYTES_A_TOKEN


class StartedRun(msgspec.Struct, frozen=True):
    """A run that was decided on, written down before it is started; claims: of its lease until then."""

    number: int
    reason: Reason
    waiting: FreshText
    at_s: float  # unix
    claims: int
    job: str  # the id under which it is a job, where it is one


class End(msgspec.Struct, frozen=True):
    """How a start ended; window: the last of the lake that is trained; failures: of how many starts in a row."""

    number: int
    code: int
    at_s: float
    window: int = -1
    failures: int = 0


class Past(NamedTuple):
    """What was started so far: the newest start, and the newest end."""

    began_s: float  # when somebody first waited, unix
    start: StartedRun | None = None
    end: End | None = None

    @property
    def open(self) -> StartedRun | None:
        """The start whose end nobody has written down yet."""
        return None if self.start is None or (self.end and self.end.number == self.start.number) else self.start

    @property
    def trained_window(self) -> int:
        """The last window that a start has trained to its end; -1: none."""
        return self.end.window if self.end else -1

    def ended(self, number: int, code: int, at_s: float, last_window: int) -> End:
        """Say how a start ended, when the lake had so many windows."""
        before = self.end.failures if self.end else 0
        failures = 0 if code == OK else before if code in (STOPPED, UNSEEN) else before + 1
        return End(number, code, at_s, last_window if code == OK else self.trained_window, failures)


class StartDecision(NamedTuple):
    """StartedRun now, and why; or None, and when to look again at the latest."""

    reason: Reason | None
    wait_s: float = 0.0


def decide_start(rule: TriggerConfig, past: Past, waiting: FreshText, now_s: float) -> StartDecision:
    """Say whether to start. A failed start is tried again behind a pause that doubles; what was cut short, at once."""
    if past.end is not None and past.end.failures and past.end.code not in (STOPPED, UNSEEN):
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(past.end.failures - 1, 20))
        if (left_s := past.end.at_s + pause_s - now_s) > 0:
            return StartDecision(None, min(left_s, pause_s))
    if not waiting.documents:
        return StartDecision(None, rule.look_every)
    if past.end is not None and past.end.code != OK:
        return StartDecision("again")
    if reason := reached(rule, waiting):
        return StartDecision(reason)
    if rule.every is None:
        return StartDecision(None, rule.look_every)
    due_s = (past.start.at_s if past.start else past.began_s) + rule.every - now_s
    return StartDecision("every") if due_s <= 0 else StartDecision(None, min(due_s, rule.look_every, rule.every))


def reached(rule: TriggerConfig, waiting: FreshText) -> Reason | None:
    """Name the threshold that what waits has reached."""
    if rule.tokens is not None and waiting.tokens >= rule.tokens:
        return "tokens"
    if rule.documents is not None and waiting.documents >= rule.documents:
        return "documents"
    return "bytes" if rule.bytes is not None and waiting.num_bytes >= rule.bytes else None
