"""What does a round train on: how much fresh text, which of it when there is too much, and which old text
with it?

Every fresh document once; when the backlog outruns training, a weighted sample of it, and the rest is shed
and counted. Replay is a uniform draw from the reservoir's sample, sized so that whole batches come out and
`replay_share` is kept. All pure functions of (seed, round, document id): input order, shards and restarts
change nothing.
"""

import numpy as np
from numba import njit

from data_ops.kernels.arrays import Bools, Floats, Ids, Ints
from data_ops.kernels.hashing import exact_log, hash_ids, log_exponential
from data_ops.kernels.id_sets import is_member
from data_ops.rounds.config import RoundConfig
from data_ops.steering.drift import Ties
from data_ops.steering.repeats import TURN, Limited

FRESH, REPLAY = 1, 2  # salts: a document's chance to be shed says nothing about its chance to be replayed
TIES = 1 << 41  # salt, beyond the numbers of rounds: what breaks ties where the text is watched
CIRCLE = 3  # salt without a round: a document's place on the circle of `repeats.py` never changes


def choose_fresh(
    ids: Ids,
    lengths: Ints,
    weights: Floats,
    config: RoundConfig,
    seed: int,
    round_number: int,
) -> tuple[Bools, Bools]:
    """Say which pending documents stay and which are shed, for the reason "backlog": two masks, each
        document in one.

    ids uint64[n, 2], lengths int64[n] in positions, weights float64[n] > 0, all that wait.
    While their lengths are within `max_backlog_tokens` all stay. Beyond it, a round's worth (`fresh_tokens`)
    stays, at least one document: drawn without replacement, proportional to weight (Efraimidis and Spirakis
    2006), stopping at the first that does not fit, so that long documents are not disfavoured.
    """
    if config.max_backlog_tokens is None or len(ids) == 0 or lengths.sum() <= config.max_backlog_tokens:
        return np.ones(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
    if not ((weights > 0) & (weights < np.inf)).all():
        bad = int(np.flatnonzero(~((weights > 0) & (weights < np.inf)))[0])
        raise ValueError(f"weight {weights[bad]} of document {bad} is not positive and finite; mend it in the source")
    keys = log_exponential(hash_ids(ids, seed, round_number, FRESH)) - exact_log(np.asarray(weights, np.float64))
    order = np.lexsort((ids[:, 1], ids[:, 0], keys))
    within = int(np.searchsorted(np.cumsum(lengths[order]), config.fresh_tokens, side="right"))
    chosen = np.zeros(len(ids), np.bool_)
    chosen[order[: max(1, within)]] = True
    return chosen, ~chosen


def draw_replay(
    candidate_ids: Ids,
    lengths: Ints,
    exclude_ids: Ids,
    budget_positions: int,
    seed: int,
    round_number: int,
) -> Ints:
    """Return the candidates to replay, as indices in the order drawn; their lengths add up to the budget at
        most.

    Uniform without replacement, by a hash of (seed, round, id). A document that no longer fits is passed over,
    so the sum is within one document of the budget while candidates suffice. None is in `exclude_ids` (the
    fresh ones of the round), and none comes twice, though sketches of several half-lives may offer it twice.
    """
    hashes = hash_ids(candidate_ids, seed, round_number, REPLAY)
    order = np.lexsort((candidate_ids[:, 1], candidate_ids[:, 0], hashes))
    ordered = candidate_ids[order]
    allowed = ~is_member(ordered, exclude_ids)
    allowed[1:] &= (ordered[1:] != ordered[:-1]).any(axis=1)
    order = order[allowed]
    return order[_fitting(np.ascontiguousarray(lengths, np.int64)[order], int(budget_positions))]


def circle_places(ids: Ids, seed: int) -> Ints:
    """Where documents are on the circle round which replay with a limit goes: int64[n] in [0, TURN)."""
    return (hash_ids(ids, seed, CIRCLE) >> np.uint64(64 - (TURN.bit_length() - 1))).astype(np.int64)


def ties_of(seed: int) -> Ties:
    """What breaks ties of ranks (`drift.py`): a function of the document alone."""
    return lambda ids, figure: hash_ids(ids, seed, TIES, figure)


def next_replay(ids: Ids, exclude_ids: Ids, budget_positions: int, limited: Limited) -> Ints:
    """Return the documents to replay under limits, as indices in the order of the circle, as far as the budget goes.

    The first that no longer fits ends it and is the first of the next round, so that none is passed over; only one
    that is longer than the whole budget is.
    """
    at, lengths = limited.next_at, limited.lengths
    order = np.lexsort((ids[:, 1], ids[:, 0], at))
    ordered = ids[order]
    allowed = (limited.open() & (lengths <= budget_positions))[order] & ~is_member(ordered, exclude_ids)
    allowed[1:] &= (ordered[1:] != ordered[:-1]).any(axis=1)
    order = order[allowed]
    return order[: int(np.searchsorted(np.cumsum(lengths[order]), budget_positions, side="right"))]


@njit(cache=True)
def _fitting(lengths: Ints, budget: int) -> Bools:
    """Take from the front whatever still fits."""
    taken = np.zeros(len(lengths), np.bool_)
    for i in range(len(lengths)):
        if lengths[i] <= budget:
            taken[i] = True
            budget -= lengths[i]
            if budget == 0:
                break
    return taken
