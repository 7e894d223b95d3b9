"""How does the log of kept documents become rounds, and a round become rows?

`plan_round` decides what a round trains on and returns its manifest; nothing is trained before the manifest is in
the lake. `Round` lays the manifest out: packing, row order and step are pure functions of it, so any rank of any
world size can be given its part, and `last_steps` says with which step each document is done.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import Ints
from data_ops.mixing.mixed_cut import Before, MixedCut
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.draw import choose_fresh, draw_replay, next_replay
from data_ops.rounds.manifest import Manifest, Mixed, Shape
from data_ops.rounds.packing import pack
from data_ops.rounds.size import plan_batch
from data_ops.steering.drift import Watch
from data_ops.steering.repeats import Limited, Repeats

BRANCH_NUMBERS = 1 << 40


class PlanInput(NamedTuple):
    """What every round of a run is planned with, and the reservoir's sample that this one draws from."""

    config: RoundConfig
    shape: Shape
    seed: int
    candidates: Documents
    reservoir: str  # fingerprint of the sample
    limited: Limited | None = None  # of the same candidates; None: each may be replayed any number of times


def plan_round(plan: PlanInput, number: int, start: Place, pending: pa.Table, closed: str) -> Manifest:
    """Decide a round from the kept documents behind `start` (LOG_COLUMNS) and the reservoir's sample.

    `closed` says why the round is planned now; with "tokens" the pending documents reach the budget. A document
    is never split over rounds: the fresh part ends before the document that would exceed the budget, but holds
    at least one.
    """
    config, shape, seed = plan.config, plan.shape, plan.seed
    documents = Documents.from_table(pending)
    chosen, shed = choose_fresh(
        documents.ids,
        documents.lengths,
        pending["weight"].to_numpy(),
        config,
        seed,
        number,
    )
    taken, end = _take(documents, chosen, config.fresh_tokens, start)
    fresh, gone = documents.take(taken), documents.take(shed & _before(documents, end))
    steps, replay, _ = _replay(plan, fresh, number)
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
        reservoir=plan.reservoir,
    )


class Behind(NamedTuple):
    """Where a run stands behind the rounds that are planned."""

    frontier: Frontier = Frontier()
    before: Before = Before()

    @staticmethod
    def of(manifest: Manifest) -> "Behind":
        """Where it stands behind this round."""
        return Behind(manifest.ends, manifest.left)


class Ruled(NamedTuple):
    """By which version of the mixture a round is cut, and what is known of the sources' text, where it is watched."""

    version: int
    watch: Watch | None = None


def plan_mixed(plan: PlanInput, number: int, behind: Behind, log: pa.Table, turn: MixedCut, ruled: Ruled) -> Manifest:
    """Decide a round of a mixture: the documents of `log` (LOG_COLUMNS) that the turn takes, and replay with them."""
    shape, documents, begins = plan.shape, Documents.from_table(log), behind.frontier
    fresh, gone = documents.take(turn.taken), documents.take(turn.shed)
    steps, replay, repeats = _replay(plan, fresh, number)
    positions = int(fresh.lengths.sum() + replay.lengths.sum())
    ends = _ends(begins, log, turn)
    return Manifest(
        round=number,
        start=begins.base,
        end=ends.base,
        seed=plan.seed,
        steps=steps,
        batch_rows=shape.batch_rows,
        row_tokens=shape.row_tokens,
        closed=turn.closed,
        fresh=fresh,
        replay=replay,
        shed=gone,
        reservoir=plan.reservoir,
        ahead=dict(begins.ahead),
        end_ahead=dict(ends.ahead),
        mix=Mixed(
            version=ruled.version,
            window=turn.window,
            trained=behind.before.tokens + positions,
            shares=turn.shares,
            tokens=turn.tokens,
            credits=turn.credits,
            dry=turn.dry,
            repeats=repeats,
            watch=ruled.watch,
        ),
    )


def plan_branch(plan: PlanInput, step: int, behind: Frontier, tokens: int) -> Manifest:
    """Decide the decay branch that leaves the main line at `step`: replay alone, about `tokens` positions, 0: none.

    Nothing fresh is trained there, so the main line, which goes on without the branch, misses no document.
    """
    shape, seed, candidates, reservoir = plan.shape, plan.seed, plan.candidates, plan.reservoir
    steps = max(min(1, tokens), tokens // (shape.row_tokens * shape.batch_rows))
    none = Documents.empty()
    budget = steps * shape.row_tokens * shape.batch_rows
    number = BRANCH_NUMBERS + step  # rounds of the main line never reach it, so no draw is made twice
    drawn = draw_replay(candidates.ids, candidates.lengths, none.ids, budget, seed, number)
    steps, replay = fit(none, candidates.take(drawn), steps, shape)
    return Manifest(
        round=0,
        start=behind.base,
        end=behind.base,
        seed=seed,
        steps=steps,
        batch_rows=shape.batch_rows,
        row_tokens=shape.row_tokens,
        closed="branch",
        fresh=none,
        replay=replay,
        shed=none,
        reservoir=reservoir,
        ahead=dict(behind.ahead),
        end_ahead=dict(behind.ahead),
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


def _ends(begins: Frontier, log: pa.Table, turn: MixedCut) -> Frontier:
    """Where the run stands behind a turn: each source at its first document that still waits, or behind its last."""
    count = int(np.searchsorted(log["window"].to_numpy(), turn.window, side="right"))
    waits = np.ones(count, np.bool_)
    waits[turn.taken], waits[turn.shed] = False, False
    left, places = np.flatnonzero(waits), dict(begins.ahead)
    at = np.stack([log[name].to_numpy()[:count] for name in ("window", "position")], axis=1).astype(np.int64)
    names = log["source"].combine_chunks().slice(0, count).dictionary_encode()
    codes, labels = names.indices.to_numpy(), names.dictionary.to_pylist()
    numbers, back = np.unique(codes[::-1], return_index=True)
    for number, row in zip(numbers.tolist(), (count - 1 - back).tolist(), strict=True):
        window, position = at[row].tolist()
        places[labels[number]] = Place(window, position + 1)
    numbers, first = np.unique(codes[left], return_index=True)
    for number, row in zip(numbers.tolist(), left[first].tolist(), strict=True):
        places[labels[number]] = Place(*at[row].tolist())
    base = Place(*at[left[0]].tolist()) if len(left) else max([begins.base, *places.values()])
    # A source stays named until the base is in a later window, so that the reservoir knows whose windows are whole.
    return Frontier(base, {k: max(places[k], base) for k in sorted(places) if places[k].window >= base.window})


def _before(documents: Documents, end: Place) -> npt.NDArray[np.bool_]:
    same = (documents.windows == end.window) & (documents.positions < end.position)
    earlier: npt.NDArray[np.bool_] = documents.windows < end.window
    return earlier | same


def _replay(plan: PlanInput, fresh: Documents, number: int) -> tuple[int, Documents, Repeats | None]:
    """Draw replay so that it fills its share and the last batch; fresh documents always fit.

    With limits also what is left of them.
    """
    candidates, shape, limited = plan.candidates, plan.shape, plan.limited
    size = plan_batch(int(fresh.lengths.sum()), plan.config, shape.row_tokens, shape.batch_rows)
    budget = size.replay_positions
    if limited is None:
        drawn = draw_replay(candidates.ids, candidates.lengths, fresh.ids, budget, plan.seed, number)
        return *fit(fresh, candidates.take(drawn), size.steps, shape), None
    drawn = next_replay(candidates.ids, fresh.ids, budget, limited)
    steps, replay = fit(fresh, candidates.take(drawn), size.steps, shape)
    taken = drawn[: len(replay)]
    hand = int(limited.next_at[taken[-1]]) + 1 if len(taken) else limited.before.hand
    return steps, replay, limited.behind(hand, taken)


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
