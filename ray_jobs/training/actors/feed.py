"""Who plans the rounds and hands every worker its rows?

One actor per run. It walks the log of kept documents, writes each round's manifest into the lake before the round is
trained, keeps one round ready ahead of the one in training, and answers `batch(round, step, rank, world)` with a pure
function of the manifest. It holds no state that the lake does not: killed, it goes on with the file of the round
(data_ops/rounds/round_file.py), or else with the manifest, and brings everything else up behind the first batches.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cluster.rows import Rows
from cluster.runtime.actors import SERVICE, Handle, start_actor
from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.kernels.arrays import Floats
from data_ops.lake.lake import Lake
from data_ops.lake.log import PendingLog, RoundText, text_of, used_up
from data_ops.mixing import versions
from data_ops.mixing.mixed_cut import Looked
from data_ops.mixing.versions import MixtureVersion
from data_ops.rounds.cut import END
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.next_round import Drifted, NothingLeft, behind_round, next_round
from data_ops.rounds.plan import Behind, PlanInput, plan_branch
from data_ops.rounds.round_file import warm_up
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Sample, Shard, merge_shards
from ray_jobs.store.paths import branch_name
from ray_jobs.training.actors.notice import RoundNotice, notice_of
from ray_jobs.training.actors.round_files import RoundFiles

logger = logging.getLogger(__name__)

KEEP_ROUNDS = 3  # prepared rounds in memory: one trained, one next, one for workers that restart
HEAD_START_S = 0.1  # by which the first batches of a round come before the work on the next one
LOOK_EVERY_S = 0.25  # between two looks into the lake (7 ms each) for windows that let the next round be planned
BRANCH = -1  # the number under which the batches of a decay branch are asked for


@dataclass(frozen=True)
class FeedSettings:
    """Everything that decides a run's rounds."""

    store: str
    run: str
    plan: Planning
    objective: RowObjective
    follow: bool = False
    plans: bool = True  # False: only rounds that another feed of this run has written down are handed out


class Batch(NamedTuple):
    """One rank's rows of a global batch."""

    rows: Rows
    predictions: int  # labels in the whole global batch
    positions: int  # of it that hold a document: with a label, or only read
    arrived_s: Floats  # arrival of the fresh documents that are done with this step (rank 0)
    event_s: Floats  # their own times
    sources: np.typing.NDArray[np.str_]  # labels of their sources


class Prepared(NamedTuple):
    """A round that batches can be cut from."""

    layout: Layout
    text: RoundText


def spread_shard(lake: Lake, reservoir: ReservoirConfig, seed: int, number: int) -> Handle[Shard]:
    """Start an actor for one shard of the reservoir, on a node of its own where there are several."""
    return start_actor(Shard, {**SERVICE, "scheduling_strategy": "SPREAD"}, lake, reservoir, seed, number)


class Feed:
    """The planner and the rows of one run. A Ray actor with a few threads; every method may be repeated."""

    def __init__(self, settings: FeedSettings, start_shard: Callable[..., Handle[Shard]] = spread_shard) -> None:
        self.settings = settings
        self.lake = Lake(Store.open(settings.store))
        plan, count = settings.plan, settings.plan.reservoir.shards if settings.plans else 0
        self.shards = [start_shard(self.lake, plan.reservoir, plan.seed, number) for number in range(count)]
        self.lock = threading.RLock()
        self.prepared: dict[int, Prepared] = {}
        self.files = RoundFiles(self.lake.store, settings.run)
        self.num_rounds: int | None = None  # in the lake; none but this feed adds to them, or `add_round` says so
        self.next_look = 0.0  # monotonic time before which nothing new is looked for
        self.pending = PendingLog(self.lake)
        self.drained_at: int | None = None
        self.failure, self.waiting_since = None, None  # type: str | None, float | None
        self.is_configured = False  # whether the run's mixture is the one that the configuration says
        threading.Thread(target=warm_up, daemon=True).start()  # done before the first worker is

    def drained(self, last_window: int) -> None:
        """Take note that ingest has nothing further behind this window."""
        if last_window != self.drained_at:
            self.drained_at, self.next_look = last_window, 0.0

    def fail(self, message: str) -> None:
        """Let the workers stop at the end of their round; the driver knows why."""
        self.failure = message

    def round(self, number: int) -> RoundNotice | None:
        """Tell about a round; None while it cannot be planned yet. Prepares the one behind it in the background."""
        if self.failure:
            return RoundNotice(-1, closed="failed")
        ready = self.prepared.get(number) or self._prepare_alone(number)
        if isinstance(ready, Prepared):
            timer = threading.Timer(HEAD_START_S, self._get_ahead, (number,))
            timer.daemon = True
            timer.start()
            return notice_of(ready.layout.manifest)
        return ready

    def batch(self, number: int, step: int, rank: int, world: int) -> Batch:
        """Give rank's part of the global batch of a step: consecutive rows, empty ones at the end of a round."""
        ready = self.prepared.get(number) or self._prepare_alone(number)
        if not isinstance(ready, Prepared):
            raise ValueError(f"round {number} is not planned; ask for it with round({number}) first")
        layout = ready.layout
        if not 0 <= step < layout.manifest.steps:
            raise ValueError(f"step={step} is not in round {number}, which has {layout.manifest.steps} steps")
        count = -(-layout.manifest.batch_rows // world)
        rows = layout.rows_of(step, rank * count, count)
        text = ready.text
        filled = layout.fill(rows, count, text.tokens, text.offsets, self.settings.objective.document_token)
        fresh = len(text.arrived_s)
        done = (layout.last_steps == step)[:fresh] & ~text.blank[:fresh] & (rank == 0)
        origins = text.arrived_s[done], text.event_s[done], text.sources[done]
        counted = layout.predictions(step, text.tokens, text.offsets), layout.positions(step)
        return Batch(filled, *counted, *origins)

    def branch(self, step: int, number: int, tokens: int) -> RoundNotice:
        """Tell about the candidates that leave the main line at `step`, before round `number`.

        The batches of a decay over so many tokens are those of round BRANCH. Replay is drawn as of the last window that
        the rounds before have used up, whatever has come since.
        """
        run = branch_name(self.settings.run, step)
        with self.lock:
            found = self.files.read_branch(step)
            if found is None:
                if self.lake.num_rounds(run) == 0:
                    stands, version = self._behind(number - 1, None).frontier, self._mixture(number)
                    sample = self._sample(used_up(self.lake, stands))
                    plan = self._plan_input(sample.without(version.rule.removed if version else ()))
                    self.lake.add_round(run, 0, plan_branch(plan, step, stands, tokens).to_row())
                manifest = Manifest.from_row(self.lake.rounds(run, 0), 0)
                found = manifest, self._text_of(manifest)
                self.files.keep_branch(step, *found)
            manifest, text = found
            if manifest.steps:
                self.prepared[BRANCH] = Prepared(Layout(manifest, text.blank, self.settings.objective.masking), text)
            return notice_of(manifest)

    def fingerprint(self, window: int) -> str:
        """Fingerprint of the reservoir as of a window."""
        with self.lock:
            return self._sample(Frontier.through(window)).fingerprint

    def _get_ahead(self, number: int) -> None:
        """Do behind a round's first batches what need not come before them; what fails is said with the next round."""
        try:
            with self.lock:
                planned = self._behind(number, None).frontier.whole_windows()
                for shard in self.shards:  # they read the log from its start, each in a process of its own
                    shard.call(Shard.advance, planned)
            for near in (number, number + 1):
                ready = self.prepared.get(near) or self._prepare_alone(near)
                if isinstance(ready, Prepared) and self.settings.plans:
                    self.files.keep(near, ready.layout.manifest, ready.text)
            self.files.sweep()
        except (OSError, ValueError, RuntimeError) as error:
            logger.debug("the round behind %d could not be prepared ahead: %s", number, error)

    def _prepare_alone(self, number: int) -> Prepared | RoundNotice | None:
        with self.lock:
            return self._prepare(number)

    def _prepare(self, number: int) -> Prepared | RoundNotice | None:
        """The round with its text; RoundNotice(-1) when there is no such round; None while it is not there yet."""
        if number in self.prepared:
            return self.prepared[number]
        in_file = self.files.read(number) if self.num_rounds is None or number < self.num_rounds else None
        manifest = in_file[0] if in_file else self._recorded(number) or self._plan_and_record(number)
        if not isinstance(manifest, Manifest):
            return manifest
        if Shape(manifest.row_tokens, manifest.batch_rows) != self.settings.plan.shape:
            raise ValueError(
                f"round {number} was planned in batches of {manifest.batch_rows} rows of {manifest.row_tokens} tokens; "
                f"set engine.batch_tokens={manifest.batch_rows * manifest.row_tokens} and model.row_tokens back"
            )
        text = in_file[1] if in_file else self._text_of(manifest)
        self.prepared[number] = Prepared(Layout(manifest, text.blank, self.settings.objective.masking), text)
        for old in [n for n in self.prepared if BRANCH < n <= number - KEEP_ROUNDS]:
            del self.prepared[old]
        return self.prepared[number]

    def _recorded(self, number: int) -> Manifest | None:
        """The manifest in the lake, None if the round was not planned yet."""
        if self.num_rounds is None:
            self.num_rounds = self.lake.num_rounds(self.settings.run)
        if number >= self.num_rounds:
            return None
        logger.info("round %d is read from the lake, as there is no file of it", number)
        return Manifest.from_row(self.lake.rounds(self.settings.run, number), 0)

    def _plan_and_record(self, number: int) -> Manifest | RoundNotice | None:
        """Plan a round and write it down; the first to write is right."""
        if time.monotonic() < self.next_look:
            return None
        if not self.settings.plans:
            self.num_rounds, self.next_look = None, time.monotonic() + LOOK_EVERY_S
            return self._recorded(number)
        planned = self._plan(number)
        if not isinstance(planned, Manifest):
            self.next_look = time.monotonic() + LOOK_EVERY_S if planned is None else 0.0
            return planned
        if self.lake.add_round(self.settings.run, number, planned.to_row()):
            self.num_rounds = number + 1
            return planned
        self.num_rounds = None
        return self._recorded(number)

    def _plan(self, number: int) -> Manifest | RoundNotice | None:
        """Cut the next round from the log, if it can be cut now."""
        settings, last, version = self.settings, self.lake.last_window(), self._mixture(number)
        behind = self._behind(number - 1, version)
        log = self.pending.after(behind.frontier, last)
        drained = self.drained_at is not None and last >= self.drained_at
        looked = Looked(log, last, drained, self._waited)
        planned = next_round(settings.plan, number, behind, looked, version, self._sample)
        if isinstance(planned, Drifted):
            paused = versions.pause_drifted(self.lake.store, settings.run, planned.alarms, number)
            logger.warning("mixture version %d is in force from round %d on: %s", paused.version, number, paused.why)
            return self._plan(number)
        if isinstance(planned, NothingLeft):
            return RoundNotice(-1, last_window=planned.last_window, closed=END)
        if planned is not None:
            self.waiting_since = None
        return planned

    def _mixture(self, number: int) -> MixtureVersion | None:
        """The mixture that a round is cut by. A changed configuration becomes a version, once a start."""
        store, run = self.lake.store, self.settings.run
        if not self.is_configured:
            if made := versions.configure(store, run, self.settings.plan.mixture, number):
                logger.info("mixture version %d is in force from round %d on", made.version, number)
            self.is_configured = True
        return versions.version_for(store, run, number)

    def _plan_input(self, sample: Sample) -> PlanInput:
        plan = self.settings.plan
        return PlanInput(plan.rounds, plan.shape, plan.seed, sample.documents, sample.fingerprint)

    def _waited(self, has_fresh: bool) -> bool:
        """Under --follow: has the round waited its `max_seconds` (and may it go without fresh text)?"""
        if not self.settings.follow:
            return False
        if self.waiting_since is None:
            self.waiting_since = time.monotonic()
        late = time.monotonic() - self.waiting_since >= self.settings.plan.rounds.max_seconds
        return late and (has_fresh or self.settings.plan.rounds.starved == "replay")

    def _behind(self, number: int, version: MixtureVersion | None) -> Behind:
        """Where the run stands behind a round; before the first for -1."""
        if number < 0:
            return Behind()
        ready = self.prepared.get(number)
        if ready is not None:
            return behind_round(self.lake, self.settings.run, ready.layout.manifest, version)
        recorded = Manifest.from_row(self.lake.rounds(self.settings.run, number), 0)
        return behind_round(self.lake, self.settings.run, recorded, version)

    def _sample(self, upto: Frontier) -> Sample:
        answers = [shard.call(Shard.state, upto) for shard in self.shards]
        return merge_shards(self.settings.plan.reservoir, self.settings.plan.seed, [answer.get() for answer in answers])

    def _text_of(self, manifest: Manifest) -> RoundText:
        """Bring the text from the lake, where the shards do not hold it."""
        replay = manifest.replay
        answers = [shard.call(Shard.tokens, replay.ids) for shard in self.shards if len(replay)]
        return text_of(self.lake, manifest.fresh, replay, [answer.get() for answer in answers])
