"""How does the log of kept documents become rounds, and a round become rows?

`plan_round` decides what a round trains on and returns its manifest; nothing is trained before the manifest is in
the lake. `Round` lays the manifest out: packing, row order and step are pure functions of it, so any rank of any
world size can be given its part, and `last_steps` says with which step each document is done.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.mixture import choose_fresh, draw_replay
from data_ops.packing import Packing, Rows, fill, pack, row_order
from data_ops.places import Documents, Ints, Place
from data_ops.round_size import RoundConfig, plan_batch

BRANCH_NUMBERS = 1 << 40


@dataclass(frozen=True)
class Manifest:
    """What one round trains on, written down before its first step."""

    round: int
    start: Place
    end: Place
    seed: int
    steps: int
    batch_rows: int
    row_tokens: int
    closed: str  # tokens | drained | seconds | starved | branch
    fresh: Documents = field(repr=False)
    replay: Documents = field(repr=False)
    shed: Documents = field(repr=False)
    reservoir: str = ""  # fingerprint of the sample replay was drawn from

    @property
    def documents(self) -> Documents:
        """Fresh and replayed documents in the order in which they are packed."""
        return self.fresh.join(self.replay)

    def to_row(self) -> dict[str, Any]:
        """The lake's row, without run and round."""
        lists = {"fresh": self.fresh, "replay": self.replay, "shed": self.shed}
        plan = {k: v for k, v in asdict(self).items() if k not in lists}
        return {"plan": json.dumps(plan), **{k: v.to_arrow() for k, v in lists.items()}}

    @staticmethod
    def from_row(rows: pa.Table, index: int) -> "Manifest":
        """Read row `index` of the lake's `rounds` table."""
        plan = json.loads(rows["plan"][index].as_py())
        plan["start"], plan["end"] = Place(*plan["start"]), Place(*plan["end"])
        plan |= {k: Documents.from_arrow(rows[k][index].values) for k in ("fresh", "replay", "shed")}
        return Manifest(**plan)


class Shape(NamedTuple):
    """The shape of one optimizer step: rows of row_tokens positions, batch_rows of them."""

    row_tokens: int
    batch_rows: int


def plan_round(
    number: int,
    start: Place,
    pending: pa.Table,
    config: RoundConfig,
    shape: Shape,
    seed: int,
    candidates: Documents,
    reservoir: str,
    closed: str,
) -> Manifest:
    """Decide a round from the kept documents behind `start` (LOG_COLUMNS) and the reservoir's sample.

    `closed` says why the round is planned now; with "tokens" the pending documents reach the budget. A document
    is never split over rounds: the fresh part ends before the document that would exceed the budget, but holds
    at least one.
    """
    documents = Documents.from_table(pending)
    backlog = int(documents.lengths.sum())
    chosen, shed = choose_fresh(
        documents.ids,
        documents.lengths,
        pending["weight"].to_numpy(),
        backlog,
        config,
        seed,
        number,
    )
    taken, end = _take(documents, chosen, config.fresh_tokens, start)
    fresh, gone = documents.take(taken), documents.take(shed & _before(documents, end))
    steps, replay = _replay(fresh, candidates, config, shape, seed, number)
    return Manifest(
        round=number,
        start=start,
        end=end,
        seed=seed,
        steps=steps,
        batch_rows=shape.batch_rows,
        row_tokens=shape.row_tokens,
        closed=closed,
        fresh=fresh,
        replay=replay,
        shed=gone,
        reservoir=reservoir,
    )


def plan_branch(
    step: int, place: Place, tokens: int, shape: Shape, seed: int, candidates: Documents, reservoir: str
) -> Manifest:
    """Decide the decay branch that leaves the main line at `step`: replay alone, about `tokens` positions.

    Nothing fresh is trained there, so the main line, which goes on without the branch, misses no document.
    """
    steps = max(1, tokens // (shape.row_tokens * shape.batch_rows))
    none = Documents.empty()
    budget = steps * shape.row_tokens * shape.batch_rows
    number = BRANCH_NUMBERS + step  # rounds of the main line never reach it, so no draw is made twice
    drawn = draw_replay(candidates.ids, candidates.lengths, none.ids, budget, seed, number)
    steps, replay = fit(none, candidates.take(drawn), steps, shape)
    return Manifest(
        round=0,
        start=place,
        end=place,
        seed=seed,
        steps=steps,
        batch_rows=shape.batch_rows,
        row_tokens=shape.row_tokens,
        closed="branch",
        fresh=none,
        replay=replay,
        shed=none,
        reservoir=reservoir,
    )


class Layout:
    """Where every position of a round lies: rows in their order, steps, and when each document is done.

    blank, bool[n]: forgotten documents of the manifest. They keep their positions, so that all others stay where they
    are, but are trained by nobody: their inputs are the document token, their labels -100.
    """

    def __init__(self, manifest: Manifest, blank: npt.NDArray[np.bool_] | None = None) -> None:
        self.manifest = manifest
        self.blank = np.zeros(len(manifest.documents), np.bool_) if blank is None else blank
        self.packing = pack(manifest.documents.lengths, manifest.row_tokens)
        self.order = row_order(self.packing.num_rows, manifest.seed, manifest.round)

    @cached_property
    def last_steps(self) -> Ints:
        """For each document the step (0..steps-1) with which its last position is trained."""
        last = np.zeros(len(self.manifest.documents), np.int64)
        np.maximum.at(last, self.packing.document, self._step_of_row[self.packing.row])
        return last

    def steps_of(self, document: int) -> Ints:
        """The steps (0..steps-1) at which a document of the manifest has positions, in order."""
        return np.unique(self._step_of_row[self.packing.row[self.packing.document == document]])

    @cached_property
    def _step_of_row(self) -> Ints:
        step_of_row = np.empty(self.packing.num_rows, np.int64)
        step_of_row[self.order] = np.arange(self.packing.num_rows) // self.manifest.batch_rows
        return step_of_row

    def rows_of(self, step: int, first: int = 0, count: int | None = None) -> Ints:
        """Row numbers of a step's global batch, or `count` of them from `first` on; fewer in a last, short step."""
        size = self.manifest.batch_rows
        count = size if count is None else count
        begin = step * size + first
        return self.order[begin : min(begin + count, (step + 1) * size)]

    def predictions(self, step: int) -> int:
        """Labels in the global batch of a step, without those of forgotten documents."""
        pieces = self._segments(self.rows_of(step))
        return int(pieces.length[~self.blank[pieces.document]].sum())

    def fill(self, rows: Ints, count: int, tokens: npt.NDArray[np.int32], offsets: Ints, document_token: int) -> Rows:
        """Build `count` rows: the named ones and, behind them, empty ones.

        tokens and offsets: the round's documents in manifest order, in Arrow's list layout; forgotten ones empty.
        """
        packing = self._segments(rows)._replace(num_rows=count)
        return fill(packing, tokens, offsets, document_token, self.manifest.row_tokens, self.blank)

    def _segments(self, rows: Ints) -> Packing:
        """The part of the packing that lies in these rows, renumbered 0, 1, ... in their order."""
        low = np.searchsorted(self.packing.row, rows, side="left")
        counts = np.searchsorted(self.packing.row, rows, side="right") - low
        # positions low[i] .. low[i]+counts[i] of every row i: e.g. low=[5,2], counts=[2,1] -> [5,6,2]
        ends = np.cumsum(counts)
        pick = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts - low, counts)
        return Packing(
            row=np.repeat(np.arange(len(rows)), counts),
            start=self.packing.start[pick],
            document=self.packing.document[pick],
            document_start=self.packing.document_start[pick],
            length=self.packing.length[pick],
            num_rows=len(rows),
        )


def _take(documents: Documents, chosen: npt.NDArray[np.bool_], budget: int, start: Place) -> tuple[Ints, Place]:
    """Walk the chosen documents in order until the budget is reached; where the walk ends."""
    order = np.flatnonzero(chosen)
    if not len(order):
        return order, start
    within = int(np.searchsorted(np.cumsum(documents.lengths[order]), budget, side="right"))
    taken = order[: max(1, within)]
    last = taken[-1]
    return taken, Place(int(documents.windows[last]), int(documents.positions[last]) + 1)


def _before(documents: Documents, end: Place) -> npt.NDArray[np.bool_]:
    same = (documents.windows == end.window) & (documents.positions < end.position)
    earlier: npt.NDArray[np.bool_] = documents.windows < end.window
    return earlier | same


def _replay(
    fresh: Documents, candidates: Documents, config: RoundConfig, shape: Shape, seed: int, number: int
) -> tuple[int, Documents]:
    """Draw replay so that it fills its share and the last batch; fresh documents always fit."""
    size = plan_batch(int(fresh.lengths.sum()), config, shape.row_tokens, shape.batch_rows)
    drawn = draw_replay(candidates.ids, candidates.lengths, fresh.ids, size.replay_positions, seed, number)
    return fit(fresh, candidates.take(drawn), size.steps, shape)


def fit(fresh: Documents, replay: Documents, most_steps: int, shape: Shape) -> tuple[int, Documents]:
    """Drop the last replayed documents until all fit into `most_steps`; the steps that are needed and what stays.

    Fresh documents always stay: packing leaves almost no gaps, but where it does, they get a step more.
    """

    def steps_with(count: int) -> int:
        lengths = np.concatenate([fresh.lengths, replay.lengths[:count]])
        return -(-pack(lengths, shape.row_tokens).num_rows // shape.batch_rows)

    most_steps = max(most_steps, steps_with(0))
    low, high = 0, len(replay)
    while low < high:  # best fit is not strictly monotone, so this may stop a document early, but never late
        middle = (low + high + 1) // 2
        if steps_with(middle) <= most_steps:
            low = middle
        else:
            high = middle - 1
    return steps_with(low), replay.take(np.arange(low))
