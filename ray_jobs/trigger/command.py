"""What does `headrace trigger` do? It looks at what waits, and starts one run at a time for it.

    what was started? -> carry on what has no end -> look -> decide -> reserve -> start -> wait -> write down its end

It holds a lease beside the run's own, so of several triggers of a run one works and the others stand by. Everything it
knows lies in the store: killed at any point, the next one goes on where it was.
"""

import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import NamedTuple

import msgspec

from cluster.readable import many, short, size, visible
from cluster.storage.clock import written_s_ago
from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.commands.submit import Jobs
from ray_jobs.config.schema import Config
from ray_jobs.driver.signals import stop_on_signal
from ray_jobs.outcome import OK, STOPPED, ConfigError
from ray_jobs.store.access import TRIGGER
from ray_jobs.store.lease import Heart, Lease, RunIsLiveError, acquire, holder, last_claim
from ray_jobs.store.paths import run_path
from ray_jobs.trigger.decision import UNSEEN, FreshText, Past, StartDecision, StartedRun, decide_start, reached
from ray_jobs.trigger.looking import Looker
from ray_jobs.trigger.starting import JobStarter, ProcessStarter, Starter
from ray_jobs.trigger.starts import close, read_past, reserve_start, reserved_s_ago

STAND_BY_S = 5.0
TRY_AGAIN = 75
Report = Callable[[Mapping[str, object]], None]


class Left(msgspec.Struct):
    """Of a summary: documents that no step has trained."""

    pending: int


class EndOfRun(msgspec.Struct):
    """What a run says at its end, as far as it is asked here."""

    documents: Left


class Clock(NamedTuple):
    """What time it is, and how to wait: until something is due, or somebody says stop."""

    stopped: Event
    now: Callable[[], float] = time.time

    def wait(self, seconds_: float) -> None:
        """Wait so long, or until the stop."""
        self.stopped.wait(seconds_)


def check_trigger(config: Config) -> None:
    """ConfigError where nothing would ever start a run."""
    rule = config.trigger
    if all(each is None for each in (rule.tokens, rule.documents, rule.bytes, rule.every)):
        raise ConfigError(
            f"trigger={{}} says when to look and not when to start: nothing would start run {config.name}; set "
            "trigger.tokens, trigger.documents, trigger.bytes or trigger.every, for example trigger.every=6h"
        )


def trigger_command(config: Config, address: str | None, python: str, *, once: bool, as_json: bool) -> int:
    """Wait and start until a signal says stop, and tell what happens: to people, or as a line of JSON each."""
    check_trigger(config)
    starter = ProcessStarter(config) if address is None else JobStarter(config, Jobs(address), python)

    def report(event: Mapping[str, object]) -> None:
        if as_json:
            sys.stdout.write(json.dumps({**event, "time": time.time()}) + "\n")
            sys.stdout.flush()
        else:
            sys.stderr.write(visible(sentence(event)) + "\n")

    with stop_on_signal() as stopped:
        return trigger(config, starter, report, Clock(stopped), once=once)


def trigger(config: Config, starter: Starter, report: Report, clock: Clock, *, once: bool = False) -> int:
    """Wait and start until a signal says stop (143); once: look one time, start if it is due, and end with its code."""
    check_trigger(config)
    store = Store.open(config.store)
    lease = _lease(store, config.name, report, clock, once)
    if lease is None:
        return STOPPED if clock.stopped.is_set() else OK
    heart = Heart(store, lease)
    try:
        turn = _Turn(config, store, starter, report, clock)
        code = OK
        while not clock.stopped.is_set() and not heart.lost.is_set():
            wait_s, ended = turn.turn()
            code = OK if ended is None else ended
            if once and (wait_s > 0 or ended is not None):
                return code
            clock.wait(wait_s)
        return STOPPED
    finally:
        heart.release()


def _lease(store: Store, run: str, report: Report, clock: Clock, once: bool) -> Lease | None:
    told = False
    while not clock.stopped.is_set():
        try:
            return acquire(store, f"{run}{TRIGGER}")
        except RunIsLiveError as error:
            if not told:
                report({"event": "standing_by", "why": str(error).partition(";")[0].replace(TRIGGER, "'s trigger")})
            if once:
                return None
            told = True
            clock.wait(STAND_BY_S)
    return None


class _Turn:
    """One look after the other."""

    def __init__(self, config: Config, store: Store, starter: Starter, report: Report, clock: Clock) -> None:
        self._config, self._store, self._starter, self._clock = config, store, starter, clock
        self._report = report
        self._looker = Looker(store, config.sources)
        self._told: object = None

    def turn(self) -> tuple[float, int | None]:
        """Look and act once: how long to wait until the next look, and the exit code of a run that has ended."""
        rule, run = self._config.trigger, self._config.name
        past = read_past(self._store, run, self._clock.now())
        if past.open is not None:
            return 0.0, self._carry(past, past.open)
        if (driver := holder(self._store, run)) is not None:
            self._once({"event": "driven", "why": f"run {run} is being driven by process {driver.pid}"})
            return rule.look_every, None
        try:
            waiting = self._looker.look(past.trained_window, lambda seen: reached(rule, seen) is not None)
        except OSError as error:
            self._once({"event": "not_looked", "why": str(error)})
            return rule.look_every, None
        decision = decide_start(rule, past, waiting, self._clock.now())
        if decision.reason is None:
            self._once({"event": "waiting", **_told(waiting)})
            return max(0.01, decision.wait_s), None
        return 0.0, self._start(past, decision, waiting)

    def _start(self, past: Past, decision: StartDecision, waiting: FreshText) -> int | None:
        assert decision.reason is not None  # the caller has looked
        number = past.start.number + 1 if past.start else 0
        run, job = self._config.name, f"{self._config.name}-{number:06d}-{secrets.token_hex(4)}"
        claims = last_claim(self._store, run)
        start = StartedRun(number, decision.reason, waiting, self._clock.now(), claims, job)
        if not reserve_start(self._store, run, start):
            return None  # a trigger that took us for dead was faster: its start is carried on
        self._report({"event": "start", "number": number, "reason": start.reason, **_told(waiting)})
        return self._carry(past, start)

    def _carry(self, past: Past, start: StartedRun) -> int | None:
        """Carry a start to its end: make it, if it was not made; if it was, find out how it ended."""
        run = self._config.name
        if not self._starter.knows(start):
            while holder(self._store, run) is not None:
                self._once({"event": "driven", "why": f"run {run} still goes on from start {start.number}"})
                if self._clock.stopped.wait(1.0):
                    return None
            if last_claim(self._store, run) > start.claims:
                return self._close(past, start, self._unseen(start))
        try:
            code = self._starter.carry(start, self._clock.stopped.is_set)
        except OSError as error:
            self._once({"event": "not_started", "number": start.number, "why": str(error)})
            self._clock.wait(self._config.trigger.look_every)
            return TRY_AGAIN
        return None if code is None else self._close(past, start, code)

    def _unseen(self, start: StartedRun) -> int:
        """Tell the code of a run that ended while nobody looked: a run that is done has written its summary since."""
        path = run_path(self._config.name, "summary.json")
        try:
            since_s, start_s = written_s_ago(self._store, path), reserved_s_ago(self._store, self._config.name, start)
            left = read_json(self._store, path, EndOfRun).documents.pending
        except (OSError, DamagedError):
            return UNSEEN
        is_new = since_s is not None and start_s is not None and since_s <= start_s  # both by the clock of the store
        return OK if is_new and left == 0 else UNSEEN

    def _close(self, past: Past, start: StartedRun, code: int) -> int:
        window = Lake(self._store).last_window() if code == OK else -1
        close(self._store, self._config.name, past.ended(start.number, code, self._clock.now(), window))
        self._report({"event": "end", "number": start.number, "code": code})
        self._told = None
        return code

    def _once(self, event: Mapping[str, object]) -> None:
        """Report what stays so, once."""
        if event != self._told:
            self._report(event)
            self._told = event


def _told(waiting: FreshText) -> dict[str, object]:
    return {**msgspec.to_builtins(waiting), "tokens": waiting.tokens}


def sentence(event: Mapping[str, object]) -> str:
    """Tell an event to people."""
    told = dict(event)
    kind, why = str(told["event"]).replace("_", " "), told.get("why")
    if why is not None:
        return f"{kind:<10}{why}"
    if kind == "end":
        return f"{kind:<10}start {told['number']} ended with code {told['code']}"
    waits = FreshText(int(str(told.get("documents", 0))), int(str(told.get("num_bytes", 0))))
    there = f"{many(waits.documents, 'document')}, {size(waits.num_bytes)}, about {short(waits.tokens)} tokens"
    return f"{kind:<10}{there}" if kind == "waiting" else f"{kind:<10}{told['number']}: {told['reason']} ({there})"
