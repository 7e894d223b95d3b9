"""How is the gate asked while a run goes on, and at its end?

Workers leave candidates at a judgement and train on; a thread of the driver asks the gate, one judgement at a time and
always the newest, because a newer candidate has seen all that an older one has. The end of a run is asked by the same
call. Killed anywhere, the next start asks again: a reservation without a verdict is finished (registry/asks.py).
"""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from cluster.storage.seal import DamagedError
from data_ops.ingest.events import Warned
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.checkpoints.weights import hash_checkpoint
from ray_jobs.config.schema import Config
from ray_jobs.driver.champion_age import champion_ages
from ray_jobs.evaluation.scores import by_slice
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.outcome import last_line
from ray_jobs.registry.champion import Verdict, is_judged
from ray_jobs.registry.judge import Candidate, judge_and_promote
from ray_jobs.report.summary import Identity
from ray_jobs.store.paths import branch_name, branches_of
from ray_jobs.training.events import CandidateJudged, Evaluated, Event

logger = logging.getLogger(__name__)

MOST_REASONS = 4  # of a verdict, that are told as it falls; all of them stand in the registry


class Heard(NamedTuple):
    """What came of a judgement: the candidate that is meant, and the gate's word, None if it was given before."""

    candidate: Commit
    identity: Identity
    verdict: Verdict | None
    ages_s: Mapping[str, tuple[float, ...]] = {}  # by source, of what a new champion has seen first


@dataclass(frozen=True)
class Bench:
    """What the gate is asked with. held: is the run still ours? sample: the reservoir's fingerprint as of a window."""

    config: Config
    opened: OpenStore
    held: Callable[[], bool]
    sample: Callable[[int], str]

    def candidates(self, step: int) -> list[Commit]:
        """The checkpoints that left the main line at a step, else the main line's own."""
        store, run = self.opened.store, self.config.name
        branch = branch_name(run, step)
        found = [commits.load(store, branch, at) for at in commits.commits(store, branch)]
        return found or [commits.load(store, run, step)]

    def hear(self, step: int) -> Heard:
        """Ask the gate about the candidates of a judgement, unless it has spoken on one of them.

        DamagedError where that by which they would be judged is damaged; RuntimeError if the run is not ours any more.
        """
        candidates = self.candidates(step)
        identities = [self.identify(one) for one in candidates]
        if any(is_judged(self.opened.store, one) for one in candidates):
            return Heard(candidates[-1], identities[-1], None)
        asking = [Candidate(one, asdict(known)) for one, known in zip(candidates, identities, strict=True)]
        verdict = judge_and_promote(self.config, self.opened.tokenizer_json, asking, self.held)
        at = [one.name for one in candidates].index(verdict.candidate)
        heard = Heard(candidates[at], identities[at], verdict)
        if not verdict.decision.promoted:
            return heard
        lake = Lake(self.opened.store)
        return heard._replace(ages_s=champion_ages(lake, heard.candidate, verdict.reference, time.time()))

    def waiting(self) -> int | None:
        """The newest judgement whose candidates the gate was not asked about, for example because of a kill."""
        store, run = self.opened.store, self.config.name
        for step in reversed(branches_of(store, run)):
            if made := commits.commits(store, branch_name(run, step)):
                asked = any(is_judged(store, one) for one in self.candidates(step))
                return None if asked or self._is_being_made(step, len(made)) else step
        return None

    def _is_being_made(self, step: int, made: int) -> bool:
        """Will the workers, who stand at this judgement, make a candidate that is missing, and tell of it?"""
        newest = commits.newest_readable(self.opened.store, self.config.name)
        judged = newest.state.judged if newest is not None and newest.step == step else None
        return judged is not None and judged.step == step and made < judged.averages + bool(judged.decay_tokens)

    def identify(self, candidate: Commit) -> Identity:
        """Say which weights came of which data."""
        store = self.opened.store
        lake = Lake(store)  # of this thread alone
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = hash_checkpoint(candidate, fetch_files(store, candidate, Path(scratch)))
        window = lake.last_window()
        branch = lake.rounds(candidate.run, 0) if "@" in candidate.run else None
        if branch is not None and branch.num_rows:
            planned = Manifest.from_row(branch, 0)
            end = planned.ends.newest
            fingerprint, window = planned.reservoir, end.window - (not end.position)
        else:
            fingerprint = self.sample(window)
        return Identity(candidate.name, weights, fingerprint, window, self.opened.tokenizer.fingerprint)


class Judging:
    """The judgements of one driver, asked beside training."""

    def __init__(self, hear: Callable[[int], Heard], tell: Callable[[Sequence[Event]], None]) -> None:
        """hear: asks the gate about a judgement; tell: takes events from any thread."""
        self.hear, self.tell = hear, tell
        self.changed = threading.Condition()
        self.next: int | None = None
        self.ends = False
        self.last: tuple[int, Heard] | None = None  # the newest judgement that was heard, and what came of it
        self.thread: threading.Thread | None = None

    def made(self, step: int) -> None:
        """Take note that a judgement's candidates are there; an older one that still waits is passed over."""
        with self.changed:
            self.next = step
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, daemon=True, name="judge")
                self.thread.start()
            self.changed.notify()

    def end(self, *, at_once: bool = False) -> None:
        """Let the judgement that is heard come to its end; with at_once it is left to the next start."""
        with self.changed:
            self.ends = True
            self.changed.notify()
        if self.thread is not None and not at_once:
            self.thread.join()

    def conclude(self, step: int) -> Heard:
        """Return what came of the last judgement, at `step`, which is heard now if it was not."""
        if self.last is None or self.last[0] != step:
            self._hear(step)
        assert self.last is not None
        return self.last[1]

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.ends or self.next is not None)
                step, self.next = self.next, None
                if self.ends or step is None:
                    return
            try:
                self._hear(step)
            except Exception as error:  # training goes on, whatever kept the gate from speaking
                if self.ends:
                    return
                logger.warning("the judgement at step %d failed", step, exc_info=not isinstance(error, DamagedError))
                self.tell([Warned(text=f"the candidate at step {step} was not judged: {last_line(error)}")])

    def _hear(self, step: int) -> None:
        heard = self.hear(step)
        self.last = step, heard
        if events := verdict_events(heard):
            self.tell(events)


def verdict_events(heard: Heard) -> list[Event]:
    """The verdict as an event and, where there was no champion, the untrained model's figures; [] without a verdict."""
    candidate, verdict = heard.candidate, heard.verdict
    if verdict is None:
        return []
    decision, told = verdict.decision, list[Event]()
    told.append(
        CandidateJudged(
            step=candidate.step,
            promoted=decision.promoted,
            checkpoint=candidate.name,
            verdict=decision.verdict,
            reasons=tuple(decision.reasons[:MOST_REASONS]),
            previous=verdict.champion,
            to_champion_s=heard.ages_s,
            tasks={name: (pool.before, pool.after) for name, (pool, *_) in decision.tasks.items()},
        )
    )
    if verdict.reference is None and verdict.before is not None:
        told.append(Evaluated(step=0, slices=by_slice(verdict.before)))
    return told
