"""Who plans the rounds and hands every worker its rows?

One actor per run. It walks the log of kept documents, writes each round's manifest into the lake before the round is
trained, keeps one round ready ahead of the one in training, and answers `batch(round, step, rank, world)` with a pure
function of the manifest. It holds no state that the lake does not: killed, it reads the recorded manifests again.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from cluster.storage import Store
from data_ops.document import array_to_ids
from data_ops.lake import Lake
from data_ops.log import TOKEN_COLUMNS, PendingLog, in_order
from data_ops.mixture import RoundConfig
from data_ops.places import Place
from data_ops.reservoir import ReservoirConfig
from data_ops.rounds import Layout, Manifest, Shape, plan_branch, plan_round
from data_ops.shard import Sample, Shard, is_in, merge
from ray_jobs.commit import branch_name

logger = logging.getLogger(__name__)

KEEP_ROUNDS = 3  # prepared rounds in memory: one trained, one next, one for workers that restart
BRANCH = -1  # the number under which the batches of a decay branch are asked for


@dataclass(frozen=True)
class FeedSettings:
    """Everything that decides a run's rounds."""

    store: str
    run: str
    rounds: RoundConfig
    reservoir: ReservoirConfig
    shape: Shape
    seed: int
    document_token: int
    follow: bool = False


class RoundNotice(NamedTuple):
    """What a worker needs to know of a round; steps is -1 when the run has no further round."""

    steps: int
    tokens: int = 0
    fresh_documents: int = 0
    fresh_tokens: int = 0
    replay_tokens: int = 0
    last_window: int = -1
    closed: str = ""


class Batch(NamedTuple):
    """One rank's rows of a global batch (int32 [rows, row_tokens] each)."""

    inputs: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    predictions: int  # labels in the whole global batch
    arrived_s: npt.NDArray[np.float64]  # arrival of the fresh documents that are done with this step (rank 0)


@dataclass(frozen=True)
class Prepared:
    """A round with its text: tokens and offsets of its documents in manifest order (Arrow's list layout)."""

    layout: Layout
    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    arrived_s: npt.NDArray[np.float64]  # per fresh document


class Feed:
    """The planner and the rows of one run. A Ray actor with a few threads; every method may be repeated."""

    def __init__(self, settings: FeedSettings) -> None:
        self.settings = settings
        self.lake = Lake(Store.open(settings.store))
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": "SPREAD"}
        shard = ray.remote(**options)(Shard)
        numbers = range(settings.reservoir.shards)
        self.shards = [shard.remote(self.lake, settings.reservoir, settings.seed, n) for n in numbers]
        self.lock = threading.RLock()
        self.prepared: dict[int, Prepared] = {}
        self.pending = PendingLog(self.lake)
        self.drained_at: int | None = None
        self.failure: str | None = None
        self.waiting_since: float | None = None

    def drained(self, last_window: int) -> None:
        """Take note that ingest has nothing further behind this window."""
        self.drained_at = last_window

    def fail(self, message: str) -> None:
        """Let the workers stop at the end of their round; the driver knows why."""
        self.failure = message

    def round(self, number: int) -> RoundNotice | None:
        """Tell about a round; None while it cannot be planned yet. Prepares the one behind it in the background."""
        if self.failure:
            return RoundNotice(-1, closed="failed")
        with self.lock:
            ready = self._prepare(number)
            if isinstance(ready, Prepared):
                threading.Thread(target=self._prepare_quietly, args=(number + 1,), daemon=True).start()
                return _notice(ready.layout.manifest)
        return ready

    def batch(self, number: int, step: int, rank: int, world: int) -> Batch:
        """Give rank's part of the global batch of a step: consecutive rows, empty ones at the end of a round."""
        ready = self.prepared.get(number)
        if ready is None:
            with self.lock:
                found = self._prepare(number)
            if not isinstance(found, Prepared):
                raise ValueError(f"round {number} is not planned; ask for it with round({number}) first")
            ready = found
        layout = ready.layout
        if not 0 <= step < layout.manifest.steps:
            raise ValueError(f"step={step} is not in round {number}, which has {layout.manifest.steps} steps")
        count = layout.manifest.batch_rows // world
        rows = layout.rows_of(step, rank * count, count)
        filled = layout.fill(rows, count, ready.tokens, ready.offsets, self.settings.document_token)
        done = (layout.last_steps == step)[: len(ready.arrived_s)] & ~layout.blank[: len(ready.arrived_s)]
        arrived = ready.arrived_s[done] if rank == 0 else ready.arrived_s[:0]
        return Batch(filled.inputs, filled.labels, filled.segments, layout.predictions(step), arrived)

    def branch(self, step: int, tokens: int) -> RoundNotice:
        """Tell about the decay branch that leaves the main line at `step`; its batches are those of round BRANCH."""
        settings, run = self.settings, branch_name(self.settings.run, step)
        with self.lock:
            if self.lake.num_rounds(run) == 0:
                sample = self._sample(self.lake.last_window())
                place = self._place(self.lake.num_rounds(settings.run))
                manifest = plan_branch(
                    step, place, tokens, settings.shape, settings.seed, sample.documents, sample.fingerprint
                )
                self.lake.add_round(run, 0, manifest.to_row())
            manifest = Manifest.from_row(self.lake.rounds(run, 0), 0)
            if manifest.steps:
                self.prepared[BRANCH] = self._materialise(manifest)
            return _notice(manifest)

    def fingerprint(self, window: int) -> str:
        """Fingerprint of the reservoir as of a window."""
        with self.lock:
            return self._sample(window).fingerprint

    def _prepare_quietly(self, number: int) -> None:
        """Prepare a round ahead of time; what goes wrong will be said when the round is asked for."""
        with self.lock:
            try:
                self._prepare(number)
            except (OSError, ValueError, RuntimeError) as error:
                logger.debug("round %d could not be prepared ahead: %s", number, error)

    def _prepare(self, number: int) -> Prepared | RoundNotice | None:
        """The round with its text; RoundNotice(-1) when there is no such round; None while it is not there yet."""
        if number in self.prepared:
            return self.prepared[number]
        if number < self.lake.num_rounds(self.settings.run):
            manifest = Manifest.from_row(self.lake.rounds(self.settings.run, number), 0)
        else:
            planned = self._plan(number)
            if not isinstance(planned, Manifest):
                return planned
            manifest = planned
            if not self.lake.add_round(self.settings.run, number, planned.to_row()):  # another feed was faster
                manifest = Manifest.from_row(self.lake.rounds(self.settings.run, number), 0)
        if Shape(manifest.row_tokens, manifest.batch_rows) != self.settings.shape:
            raise ValueError(
                f"round {number} was planned in batches of {manifest.batch_rows} rows of {manifest.row_tokens} tokens; "
                f"set engine.batch_tokens={manifest.batch_rows * manifest.row_tokens} and model.row_tokens back"
            )
        self.prepared[number] = self._materialise(manifest)
        for old in [n for n in self.prepared if BRANCH < n <= number - KEEP_ROUNDS]:
            del self.prepared[old]
        return self.prepared[number]

    def _plan(self, number: int) -> Manifest | RoundNotice | None:
        """Cut the next round from the log, if it can be cut now."""
        settings = self.settings
        start = self._place(number)
        last = self.lake.last_window()
        log = self.pending.after(start, last)
        positions = int(np.sum(log["num_tokens"].to_numpy())) + log.num_rows
        drained = self.drained_at is not None and last >= self.drained_at
        if positions > settings.rounds.fresh_tokens:
            closed = "tokens"
        elif drained:
            closed = "drained"
            if not log.num_rows:
                return RoundNotice(-1, last_window=last, closed="end")
        elif settings.follow and self._waited(log.num_rows > 0):
            closed = "seconds" if log.num_rows else "starved"
        else:
            return None
        self.waiting_since = None
        before = int(log["window"][0].as_py()) - 1 if log.num_rows else last
        sample = self._sample(before)
        return plan_round(
            number,
            start,
            log,
            settings.rounds,
            settings.shape,
            settings.seed,
            sample.documents,
            sample.fingerprint,
            closed,
        )

    def _waited(self, has_fresh: bool) -> bool:
        """Under --follow: has the round waited its `max_seconds` (and may it go without fresh text)?"""
        if self.waiting_since is None:
            self.waiting_since = time.monotonic()
        late = time.monotonic() - self.waiting_since >= self.settings.rounds.max_seconds
        return late and (has_fresh or self.settings.rounds.starved == "replay")

    def _place(self, number: int) -> Place:
        """Where the round before this one ended."""
        if number == 0:
            return Place()
        ready = self.prepared.get(number - 1)
        if ready is not None:
            return ready.layout.manifest.end
        return Manifest.from_row(self.lake.rounds(self.settings.run, number - 1), 0).end

    def _sample(self, window: int) -> Sample:
        states = ray.get([shard.state.remote(window) for shard in self.shards])
        return merge(self.settings.reservoir, self.settings.seed, states)

    def _materialise(self, manifest: Manifest) -> Prepared:
        """Bring the text: fresh documents from their windows, replayed ones from the shards or else the lake."""
        fresh, replay = manifest.fresh, manifest.replay
        first, last = (int(fresh.windows[0]), int(fresh.windows[-1])) if len(fresh) else (0, -1)
        tables = [self.lake.documents(first, last, TOKEN_COLUMNS, ["kept"])]
        if len(replay):
            held = ray.get([shard.tokens.remote(-1, replay.ids) for shard in self.shards])
            tables += [pa.table({"id": array_to_ids(ids).cast(pa.binary()), "tokens": tokens}) for ids, tokens in held]
            found = np.concatenate([ids for ids, _ in held])
            for window in np.unique(replay.windows[~is_in(replay.ids, found)]).tolist():
                tables.append(self.lake.documents(window, window, TOKEN_COLUMNS, ["kept"]))
        layout = Layout(manifest, self.lake.forgotten())
        tokens, offsets = in_order(tables, manifest.documents, layout.blank)
        arrival = self.lake.arrivals(first, last)
        arrived_s = np.array([arrival[w] for w in fresh.windows.tolist()], np.float64)
        return Prepared(layout, tokens, offsets, arrived_s)


def _notice(manifest: Manifest) -> RoundNotice:
    fresh, replay = int(manifest.fresh.lengths.sum()), int(manifest.replay.lengths.sum())
    return RoundNotice(
        steps=manifest.steps,
        tokens=fresh + replay,
        fresh_documents=len(manifest.fresh),
        fresh_tokens=fresh,
        replay_tokens=replay,
        last_window=max(manifest.start.window, manifest.end.window),
        closed=manifest.closed,
    )
