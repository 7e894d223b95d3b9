"""How does a training loop that is not ours get every document exactly once, and a ledger that can prove it?

By one number. A step of the loop takes one global batch, whatever the number of ranks, and every round is written into
the lake before it is trained; so the steps that are in the weights say which documents are. The loop keeps that number
with its weights (`state_dict`), gives it back with them (`load_state_dict`), and says once a checkpoint is safe
(`commit`). Only the last two write the ledger: a document counts as trained when it is in a checkpoint that was
committed or loaded, never because it was handed out. Planning, packing and ledger are those of a run
(`ray_jobs.training.actors.feed`, `data_ops.rounds`), here in the loop's own process, without Ray.
"""

import atexit
import json
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.lake.lake import Lake
from data_ops.lake.sealed_rows import LedgerEntry
from data_ops.rounds import round_file
from data_ops.rounds.manifest import Manifest
from data_ops.rounds.masking import RowObjective
from data_ops.sampling.config import ReservoirConfig
from data_ops.sampling.shard import Shard
from ray_jobs.checkpoints.manifest import commits
from ray_jobs.library.feed_config import FeedConfig, settings_of
from ray_jobs.library.loop_batch import LoopBatch
from ray_jobs.library.ranks import LOOK_EVERY_S, Ranks
from ray_jobs.outcome import ConfigError
from ray_jobs.store.access import refuse_while_forgetting
from ray_jobs.store.frozen import read_frozen, read_tokenizer
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import RUN_NAME
from ray_jobs.training.actors.feed import Feed, FeedSettings
from ray_jobs.training.actors.notice import RoundNotice

NOW = -1  # window behind which nothing is waited for: what is there when a round is cut is all there is


class LoopState(msgspec.Struct, frozen=True):
    """How far the weights are: everything before it is in them, nothing after it."""

    run: str
    step: int = 0
    round: int = 0
    step_in_round: int = 0


class LoopFeed:
    """The batches of one rank; an iterator, and a context manager that lets the run go at its end."""

    def __init__(
        self,
        store: str,
        run: str,
        place: tuple[int, int] = (0, 1),
        settings: FeedConfig | Mapping[str, object] | None = None,
        *,
        follow: bool = False,
    ) -> None:
        """See `headrace.feed`; place: rank and world."""
        if not RUN_NAME.fullmatch(run):
            raise ConfigError(f"run={run!r} is no name of a run; use letters, digits, ., _ and -, for example mine")
        self.run, self.rank = run, place[0]
        self.store = Store.open(store)
        self.lake = Lake(self.store)
        frozen = read_frozen(self.store)
        if frozen is None:
            raise ConfigError(f"store {store} is not made yet; take documents in first, with headrace.ingest")
        if frozen.objective != "causal":
            raise ConfigError(
                f"store {store} keeps documents for an encoder (objective={frozen.objective}), whose hidden tokens a "
                "feed does not hand out; train it with headrace run, or use another store"
            )
        if commits(self.store, run):
            raise ConfigError(f"run {run} is trained by `headrace run`; feed a loop of yours under another name")
        self.heart = Heart(self.store, acquire(self.store, run)) if self.rank == 0 else None
        self.closed = threading.Event()
        atexit.register(self.close)
        try:
            self._open(place, settings, frozen.seed, follow=follow)
        except BaseException:
            self.close()
            raise
        self.state = LoopState(run)
        self.first_steps: dict[int, int] = {}  # round -> steps before it, of rounds that this feed has seen
        self.committed = 0
        self.phase, self.is_begun, self.is_loaded = 0, False, False
        self.notice: RoundNotice | None = None  # of the round in `state`

    def _open(
        self, place: tuple[int, int], settings: FeedConfig | Mapping[str, object] | None, seed: int, *, follow: bool
    ) -> None:
        """Find the other ranks, then plan (rank 0) or read what rank 0 plans."""
        lease = None
        if self.heart is not None:
            lease = self.heart.lease
            refuse_while_forgetting(self.store)
            settings = settings_of(self.store, self.run, settings, keep=True)
        self.ranks = Ranks(self.store, self.run, place, lease, self.closed)
        self.config = settings_of(self.store, self.run, settings, keep=False)
        plan, asked = self.config.planning(seed), RowObjective(read_tokenizer(self.store).document_token)
        wanted = FeedSettings(self.store.uri, self.run, plan, asked, follow=follow, plans=self.rank == 0)
        self.feed = Feed(wanted, _shard_here)
        if not follow:
            self.feed.drained(NOW)

    def __enter__(self) -> "LoopFeed":
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the run go, so that the next process need not wait; what is not committed did not happen."""
        self.closed.set()
        if self.heart is not None:
            self.heart.release()
            self.heart = None

    def __iter__(self) -> Iterator[LoopBatch]:
        return self

    def __next__(self) -> LoopBatch:
        """Give the rows of the next step; ends where no document waits, and goes on there when iterated again."""
        if not self.is_begun:
            self._begin()
        while self.notice is None or self.state.step_in_round >= self.notice.steps:
            number, step = self.state.round, self.state.step
            if self.notice is not None:
                number += 1
            notice = self._round(number)
            if notice.steps < 0:
                self.is_begun = False
                raise StopIteration
            if self.notice is not None:
                self.state = LoopState(self.run, step, number, 0)
            self.notice, self.first_steps[number] = notice, step - self.state.step_in_round
        here = self.state
        batch = self.feed.batch(here.round, here.step_in_round, self.rank, self.ranks.world)
        self.state = LoopState(self.run, here.step + 1, here.round, here.step_in_round + 1)
        return LoopBatch(here.step + 1, *batch.rows, batch.predictions)

    def state_dict(self, step: int | None = None) -> dict[str, str | int]:
        """How far the weights are, as JSON values: after every batch that was handed out, or after `step` steps.

        Give `step` where batches are fetched before they are trained, as most trainers do: their count of steps.
        """
        return dict(msgspec.to_builtins(self._state_at(step)))

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on behind a state; `{"run": ..., "step": n}` is enough, as any trainer's checkpoint holds its steps.

        The ledger follows when the feed is iterated next: what is not in these weights is pending again. Raises
        ConfigError for the state of another run, or one that the store does not know.
        """
        try:
            loaded = msgspec.convert({"run": self.run, **state}, LoopState)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{state!r} is no state of a feed ({error}); give what state_dict returned") from None
        if loaded.run != self.run:
            raise ConfigError(f"the state is of run {loaded.run}, this feed is run {self.run}; name that run")
        if loaded.step and "round" not in state:
            loaded = self._look_up(loaded.step)
        if loaded.step:
            self._check_known(loaded)
        self.state, self.notice, self.is_begun, self.is_loaded = loaded, None, False, True
        self.first_steps.clear()

    def commit(self, step: int | None = None, checkpoint: str = "") -> None:
        """Say that a checkpoint with the weights after `step` steps is safe on disk; absent: all that were handed out.

        From now on its documents count as trained. Every rank may call it, rank 0 writes. checkpoint: where it lies,
        for people. Raises ValueError for a step that goes back or was not handed out, and PermissionError where another
        process has taken the run.
        """
        if self.rank:
            return
        state = self._state_at(step)
        if state.step < self.committed:
            raise ValueError(f"step={state.step} is before {self.committed}, the last one that was committed")
        self._note(state, checkpoint)
        round_file.collect(self.store, self.run, state.round, 0, ())

    def _state_at(self, step: int | None) -> LoopState:
        if step is None or step == self.state.step:
            return self.state
        if not 0 <= step <= self.state.step:
            raise ValueError(f"step={step} was not handed out; this feed is at step {self.state.step}")
        before = [number for number, first in self.first_steps.items() if first <= step]
        if not before:
            return self._look_up(step)
        number = max(before)
        return LoopState(self.run, step, number, step - self.first_steps[number])

    def _look_up(self, step: int) -> LoopState:
        """Find a step by the rounds' own numbers of steps: a look at all rounds of the run."""
        table, first = self.lake.rounds(self.run), 0
        for index in range(table.num_rows):
            manifest = Manifest.from_row(table, index)
            if step <= first + manifest.steps:
                return LoopState(self.run, step, manifest.round, step - first)
            first += manifest.steps
        raise ConfigError(f"step {step} is not in run {self.run}, whose rounds have {first} steps; give its own state")

    def _check_known(self, state: LoopState) -> None:
        rounds = self.lake.num_rounds(self.run)
        steps = 0
        if state.round < rounds:
            steps = Manifest.from_row(self.lake.rounds(self.run, state.round), 0).steps
        if not 0 <= state.step_in_round <= steps:
            raise ConfigError(
                f"step {state.step_in_round} of round {state.round} is not in store {self.store.uri}, where run "
                f"{self.run} has {rounds} rounds; give the state of a checkpoint of this store"
            )

    def _begin(self) -> None:
        """Agree with the other ranks where the weights are, and let the ledger say so."""
        self.phase += 1
        if self.rank:
            begun = self.ranks.wait_for(partial(self.ranks.decided, self.phase, "begin"))
            if begun != self.state.step:
                raise ConfigError(
                    f"rank {self.rank} begins at step {self.state.step}, rank 0 at step {begun}; load the state of the "
                    "same checkpoint on every rank"
                )
        else:
            stand = read_stand(self.lake, self.run)
            if self.phase == 1 and not self.is_loaded and stand.checkpoint:
                raise ConfigError(
                    f"run {self.run} is at checkpoint {stand.checkpoint}: give its state to load_state_dict, or use "
                    "another name for a new training"
                )
            if self.is_loaded and stand.place != (self.state.round, self.state.step_in_round):
                self._note(self.state, "")
            self.committed = self.state.step if self.is_loaded else self.committed
            self.ranks.decide(self.phase, "begin", self.state.step)
        self.is_begun, self.is_loaded = True, False

    def _round(self, number: int) -> RoundNotice:
        """What is known of a round, once it is planned; steps is -1 at the end."""
        if self.rank:
            return self.ranks.wait_for(partial(self._heard, number))
        while (notice := self.feed.round(number)) is None:
            self._check_held()
            time.sleep(LOOK_EVERY_S)
        if notice.steps < 0:
            self.ranks.decide(self.phase, "end", number)
        return notice

    def _heard(self, number: int) -> RoundNotice | None:
        """Of a rank that does not plan; the end of a phase is asked for first, as later phases plan on."""
        if self.ranks.decided(self.phase, "end") == number:
            return RoundNotice(-1)
        return self.feed.round(number)

    def _note(self, state: LoopState, checkpoint: str) -> None:
        """Note in the ledger where the weights are."""
        self._check_held()
        position = {"round": state.round, "step_in_round": state.step_in_round, "step": state.step}
        loop = {"world": self.ranks.world, "checkpoint": checkpoint}
        told = {"position": position, "noted_by": self.ranks.lease, "loop": loop}
        entry: LedgerEntry = {
            "step": state.step,
            "round": state.round,
            "step_in_round": state.step_in_round,
            "checkpoint": f"{self.run}/{state.step:08d}" if state.step else "",
            "state": json.dumps(told),
        }
        self.lake.add_ledger(self.run, entry)
        self.committed = state.step

    def _check_held(self) -> None:
        if self.heart is None or self.heart.lost.is_set() or not self.heart.lease.held(self.store):
            raise PermissionError(f"run {self.run} belongs to another process now; this one trains nothing")


def _shard_here(lake: Lake, reservoir: ReservoirConfig, seed: int, number: int) -> Local[Shard]:
    """A shard of the reservoir in this process."""
    return Local(Shard(lake, reservoir, seed, number))
