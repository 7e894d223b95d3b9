"""Which checkpoint answers? The champion of the store, at each look; another one is loaded beside it, then takes over.

Where `serve.canary.share` says so it answers a share of the conversations first (canary/trial.py), and takes over once
people's thumbs, or time, have spoken for it. Whatever is wrong with a new champion, the old one goes on, and the
sentence that says why stands in the log, in `/health` and in the metrics until it is mended. At most two checkpoints
are in memory: before a third is loaded, the first has given its last answer.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService, read_champion
from ray_jobs.checkpoints.manifest import DAMAGES
from ray_jobs.config.blocks import CanaryConfig, GateConfig, ServeConfig
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.canary.record import CanaryRecord, Ending
from ray_jobs.serving.canary.trial import CanaryTrial, TrialRules
from ray_jobs.serving.feedback.held import HeldAnswer
from ray_jobs.serving.served import ServedCheckpoint, load_served

logger = logging.getLogger(__name__)
WRONG = (*DAMAGES, OSError, RuntimeError, MemoryError)  # what reading or loading a champion fails with


class Acts(NamedTuple):
    """What a watch does to the world: tell people, and move the pointer back to a checkpoint for a reason."""

    tell: Callable[[str], None]
    roll_back: Callable[[str, str], None]


class ChampionWatch:
    """Holds the checkpoints that new requests go to, and exchanges them."""

    def __init__(self, store: Store, precision: str, serve: ServeConfig, gate: GateConfig, acts: Acts) -> None:
        """Load the champion; ConfigError where there is none, DamagedError and the like where it is not whole."""
        self._store, self._precision, self._serve, self._acts = store, precision, serve, acts
        self._rules = TrialRules(serve.canary.share, serve.canary.margin, 1 - gate.confidence)
        entry = read_champion(store)
        if entry is None:
            raise ConfigError(
                f"store {store.uri} has no champion yet; let a run be judged, or name one: "
                "headrace promote --to RUN/STEP"
            )
        self.current = self._load(entry.checkpoint)
        self.trial: CanaryTrial | None = None
        self.trouble: str | None = None
        self.num_swaps = self.num_failures = 0
        self._entry = entry
        self._before: ServedCheckpoint | None = None  # while it still answers
        self._uses: Callable[[ServedCheckpoint], bool] = lambda _: False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="champion")
        self._go_on_with_trial(entry)

    def start(self, uses: Callable[[ServedCheckpoint], bool]) -> None:
        """Begin to look; `uses`: does a checkpoint still answer?"""
        self._uses = uses
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def answering(self) -> tuple[ServedCheckpoint, ...]:
        """The checkpoints that new requests go to."""
        trial = self.trial
        return (self.current,) if trial is None else (self.current, trial.new)

    def served_for(self, key: str) -> ServedCheckpoint:
        """Return the checkpoint that answers who has this key."""
        trial = self.trial
        return trial.new if trial is not None and trial.takes(key) else self.current

    def rate(self, answer: HeldAnswer, is_up: bool) -> None:
        """Take note of a thumb on an answer."""
        if (trial := self.trial) is not None:
            trial.rate(answer, is_up)

    def look(self) -> None:
        """Look once, and load another champion if there is one."""
        if self._before is not None and not self._uses(self._before):
            self._before = None
        try:
            entry = read_champion(self._store)
            if entry is None:
                raise ConfigError(f"the champion pointer of {self._store.uri} is gone")
            if entry != self._entry:
                self._exchange(entry)
            elif self.trial is not None:
                self._look_at(self.trial)
        except WRONG as error:
            self._complain(" ".join(str(error).split()) or type(error).__name__)
            return
        if entry == self._entry:
            self.trouble = None

    def _exchange(self, entry: InService) -> None:
        """Follow the pointer; where a third checkpoint would be in memory, at a later look."""
        trial = self.trial
        if trial is not None and entry.checkpoint == trial.new.name:
            self._take_over(trial, "the pointer names it again")
        elif trial is not None:
            self._before, self.trial = trial.new, None
            self._acts.tell(f"canary     {trial.new.name} ended: the champion is {entry.checkpoint}")
        if entry.checkpoint != self.current.name:
            if self._before is not None:
                return
            served = self._load(entry.checkpoint)
            if is_tried(self._store, entry, self._serve.canary):
                self._begin(entry, served)
            else:
                self._swap(served)
        self._entry = entry

    def _swap(self, served: ServedCheckpoint) -> None:
        self._before, self.current = self.current, served
        self.num_swaps += 1
        self._acts.tell(f"serving    {served.name}, after {self._before.name}")

    def _begin(self, entry: InService, new: ServedCheckpoint) -> None:
        ends_s, record = entry.decided + self._serve.canary.within, CanaryRecord(self._store, entry)
        self.trial = CanaryTrial(record, ends_s, new, self.current, self._rules)
        share = f"{self._rules.share:.0%} of the conversations"
        self._acts.tell(f"canary     {new.name} answers {share}, {self.current.name} the others")

    def _go_on_with_trial(self, entry: InService) -> None:
        """At a start: the canary of the champion may not have ended; without its opponent it has."""
        if entry.previous is None or not is_tried(self._store, entry, self._serve.canary):
            return
        new = self.current
        try:
            self.current = self._load(entry.previous)
        except WRONG as error:
            self._acts.tell(
                f"warning    {new.name} is tried beside nothing: {entry.previous} cannot be loaded: {error}"
            )
            return
        self._begin(entry, new)

    def _look_at(self, trial: CanaryTrial) -> None:
        outcome = trial.look(time.time())
        if outcome is None:
            return
        if outcome.ending == Ending.WHOLE:
            self._take_over(trial, outcome.reason)
            return
        self._acts.roll_back(trial.old.name, f"the canary {trial.new.name} is rolled back: {outcome.reason}")
        trial.settle(outcome)
        self._acts.tell(f"warning    {trial.new.name} is rolled back to {trial.old.name}: {outcome.reason}")

    def _take_over(self, trial: CanaryTrial, why: str) -> None:
        self.trial = None
        self._acts.tell(f"canary     {trial.new.name} takes over: {why}")
        self._swap(trial.new)

    def _load(self, name: str) -> ServedCheckpoint:
        return load_served(self._store, name, self._precision, self._serve)

    def _complain(self, why: str) -> None:
        self.num_failures += 1
        trouble = f"the champion cannot be served: {why}; {self.current.name} goes on answering"
        if trouble != self.trouble:
            self.trouble = trouble
            self._acts.tell(f"warning    {trouble}")

    def _run(self) -> None:
        wait_s = self._serve.look_every
        while not self._stopping.wait(wait_s):
            self.look()
            # A champion that is damaged costs its reading at each try.
            wait_s = min(2 * wait_s, max(60.0, self._serve.look_every)) if self.trouble else self._serve.look_every


def is_tried(store: Store, entry: InService, canary: CanaryConfig) -> bool:
    """Say whether a champion is tried on a share first: one that the gate promoted in another's place, not long ago."""
    if not canary.share or entry.by_hand or entry.previous in (None, entry.checkpoint):
        return False
    return time.time() < entry.decided + canary.within and CanaryRecord(store, entry).outcome() is None
