"""Which rows do all trials of a sweep train on?

Rounds that are planned once, behind the start, with the planner of every run, and written into the lake before the
first trial. Their rows in training order are one long list; a trial with batches of b rows takes the next b at each
step. So every trial sees the same text in the same order, whatever its batch. Settings that decide what is replayed
(replay share, half-life) need rounds of their own: one *diet* each, over the same fresh documents.
"""

import hashlib
import json
from dataclasses import dataclass

import msgspec
import numpy as np

from cluster.rows import Rows
from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.lake.lake import Lake
from data_ops.lake.log import PendingLog, RoundText, text_of
from data_ops.mixing.mixed_cut import Looked
from data_ops.mixing.versions import MixtureVersion
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest, Planning
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.next_round import behind_round, next_round
from data_ops.rounds.plan import Behind
from data_ops.sampling.shard import Sample, Shard, merge_shards
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.outcome import ConfigError
from ray_jobs.training.actors.round_files import RoundFiles

KEPT_ROUNDS = 2  # laid out in memory: a batch may span two


@dataclass(frozen=True)
class Diet:
    """Recorded rounds: the run they stand under in the lake, and the rows of each."""

    run: str
    rows: tuple[int, ...]


def diet_key(plan: Planning, start: Behind, last_window: int) -> str:
    """Name of what decides the rounds behind a start, replay above all: equal settings, equal name.

    So rounds that were recorded for a question that found no answer are never taken for those of another.
    """
    mixed = {}
    if plan.mixture is not None or start.frontier.ahead:
        mixed["mixture"] = plan.mixture.model_dump(mode="json") if plan.mixture else None
        mixed["behind"] = msgspec.to_builtins(start)
    decided = {
        **mixed,
        "round": plan.rounds.model_dump(mode="json"),
        "reservoir": plan.reservoir.model_dump(mode="json", exclude={"shards"}),  # which change nothing in the sample
        "shape": [plan.shape.row_tokens, plan.shape.row_tokens * plan.shape.batch_rows],
        "seed": plan.seed,
        "documents": [*start.frontier.base, last_window],
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:6]


def place_behind(lake: Lake, start: Commit | None) -> Behind:
    """Where the log goes on behind a checkpoint: after the round it stands in, or after the one before."""
    if start is None:
        return Behind()
    number = 0 if "@" in start.run else start.round - (start.step_in_round == 0)  # a decay branch is one round
    rows = lake.rounds(start.run, max(number, 0))  # none of weights that a run begins with
    return Behind.of(Manifest.from_row(rows, 0)) if number >= 0 and rows.num_rows else Behind()


def record_rounds(lake: Lake, plan: Planning, run: str, start: Behind, last_window: int, tokens: int) -> Diet:
    """Plan and write down rounds of `run` from `start` on until their rows hold `tokens`; those there are kept.

    Raises ConfigError if the documents up to `last_window` do not suffice.
    """
    plan = plan._replace(reservoir=plan.reservoir.model_copy(update={"shards": 1}))  # which holds the same sample
    shard, row_tokens = Shard(lake, plan.reservoir, plan.seed, 0), plan.shape.row_tokens
    pending, files, behind = PendingLog(lake), RoundFiles(lake.store, run), start
    version = _mixture_of(plan, start)
    rows: list[int] = []
    there = lake.num_rounds(run)
    wanted = -(-tokens // row_tokens)

    def sample(upto: Frontier) -> Sample:
        return merge_shards(plan.reservoir, plan.seed, [shard.state(upto)])

    while sum(rows) < wanted:
        number = len(rows)
        manifest = Manifest.from_row(lake.rounds(run, number), 0) if number < there else None
        if manifest is None:
            looked = Looked(pending.after(behind.frontier, last_window), last_window, drained=True)
            planned = next_round(plan, number, behind, looked, version, sample)
            if not isinstance(planned, Manifest):
                raise ConfigError(
                    f"sweep.tokens={tokens:,} is more than the {sum(rows) * row_tokens:,} tokens that "
                    "wait behind the start of the sweep; lower it, or take in more documents"
                )
            manifest = planned
            lake.add_round(run, number, manifest.to_row())
            files.keep(number, manifest, text_of(lake, manifest.fresh, manifest.replay, []))
        rows.append(Layout(manifest).packing.num_rows)
        behind = behind_round(lake, run, manifest, version)
    return Diet(run, tuple(rows))


def _mixture_of(plan: Planning, start: Behind) -> MixtureVersion | None:
    """What a sweep's rounds are cut by: the configured mixture, and the order of the log behind a run that had one."""
    if plan.mixture is None and not start.frontier.ahead:
        return None
    mixture = plan.mixture.model_copy(update={"drift": None}) if plan.mixture else None  # a sweep pauses nothing
    return MixtureVersion(version=0, mixture=mixture)


class RecordedRows:
    """The rows of a diet in training order, read from the store as they are asked for; one process alone uses it."""

    def __init__(self, store: Store, diet: Diet, objective: RowObjective) -> None:
        self.lake, self.diet, self.objective = Lake(store), diet, objective
        self.files = RoundFiles(store, diet.run)
        self.ends = np.cumsum(diet.rows)
        self.laid: dict[int, tuple[Layout, RoundText]] = {}

    def asking(self, objective: RowObjective) -> "RecordedRows":
        """Let the next rows ask something else of a model, such as another share of hidden tokens."""
        rates = [None if one.masking is None else one.masking.rates for one in (self.objective, objective)]
        if rates[0] != rates[1]:
            self.objective, self.laid = objective, {}
        return self

    def batch(self, first: int, count: int) -> tuple[Rows, int]:
        """Return rows first .. first + count of the list, int32 [count, row_tokens] each, and their labels."""
        last = first + count
        if last > self.ends[-1]:
            raise ValueError(f"rows up to {last} are asked for; {self.diet.run} has {self.ends[-1]}")
        parts = []
        number = int(np.searchsorted(self.ends, first, side="right"))
        while first < last:
            begin = int(self.ends[number - 1]) if number else 0
            upto = min(last, int(self.ends[number]))
            layout, text = self._round(number)
            rows = layout.order[first - begin : upto - begin]
            parts.append(layout.fill(rows, len(rows), text.tokens, text.offsets, self.objective.document_token))
            first, number = upto, number + 1
        found = Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows._fields))
        return found, int((found.labels != -100).sum())

    def _round(self, number: int) -> tuple[Layout, RoundText]:
        if number not in self.laid:
            found = self.files.read(number)
            if found is None:
                manifest = Manifest.from_row(self.lake.rounds(self.diet.run, number), 0)
                found = manifest, text_of(self.lake, manifest.fresh, manifest.replay, [])
            manifest, text = found
            self.laid[number] = Layout(manifest, text.blank, self.objective.masking), text
            for old in [n for n in self.laid if n <= number - KEPT_ROUNDS]:
                del self.laid[old]
        return self.laid[number]


def rank_part(batch: Rows, rank: int, world: int) -> Rows:
    """Give a rank's consecutive rows of a global batch; empty rows where the batch does not divide."""
    each = -(-len(batch.inputs) // world)
    mine = [field[rank * each : (rank + 1) * each] for field in batch]
    lacking = each - len(mine[0])
    if lacking:
        fills = (0, -100, -1)
        mine = [
            np.concatenate([m, np.full((lacking, m.shape[1]), f, m.dtype)]) for m, f in zip(mine, fills, strict=True)
        ]
    return Rows(*mine)
