"""Which tokens of a document are hidden, so that a model learns to name them? Masked language modelling.

A share of the tokens is chosen; of these most become the mask token, some another token, the rest stay (Devlin et al.
2019). It is a function of (seed, epoch, document id, position in the document) and of nothing else: no generator has a
state, so batches, ranks, order and restarts change nothing. The epoch is the round, so replay is masked anew; held-out
text has an epoch of its own, so every checkpoint is asked for the same tokens. Chosen are neither special tokens, [UNK]
included, nor what is only read (a stored ~t, see packing.py).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from cluster.rows import Rows
from data_ops.documents.tokenizer import Tokenizer
from data_ops.kernels.arrays import Ids, Ints, Words
from data_ops.kernels.hashing import hash_ids, mix64_scalar
from data_ops.kernels.mixing import GOLDEN
from data_ops.rounds.packing import IGNORED_LABEL, Packing, Text

SALT = 0x4D4C4D  # so that no other draw of a run is this one
EVALUATION = 1 << 62  # the epoch of held-out text: beyond that of any round
S32 = np.uint64(32)


class MaskRates(NamedTuple):
    """Shares: of the tokens that are chosen; of the chosen, those that are masked and those that become others."""

    chosen: float = 0.15
    masked: float = 0.8
    other: float = 0.1


class Masking(NamedTuple):
    """How tokens are hidden. mask: the mask token; ordinary: what another token is drawn from, int32, ascending."""

    seed: int
    rates: MaskRates
    mask: int
    ordinary: npt.NDArray[np.int32]


class RowObjective(NamedTuple):
    """What rows ask of a model: each next token, or where `masking` is there, those that it hides."""

    document_token: int  # with which each document begins
    masking: Masking | None = None


def masking_of(tokenizer: Tokenizer, seed: int, rates: MaskRates) -> Masking:
    """Make the masking of a tokenizer; ValueError where it has no mask token."""
    if tokenizer.mask_token is None:
        raise ValueError(
            f"the tokenizer {tokenizer.fingerprint} has no mask token ([MASK], <mask> or <|mask|>), and masked tokens "
            "are to be learnt; use one that has, or a store of its own, whose tokenizer gets one"
        )
    special = list(tokenizer.special_tokens.values())
    ordinary = np.setdiff1d(np.arange(tokenizer.vocab_size, dtype=np.int32), special).astype(np.int32)
    return Masking(seed, rates, tokenizer.mask_token, ordinary)


def mask_keys(masking: Masking, ids: Ids, epoch: int) -> Words:
    """Return what decides the masks of each document in an epoch, uint64 [n]."""
    return hash_ids(ids, masking.seed, SALT, epoch)


def mask_rows(rows: Rows, packing: Packing, text: Text, keys: Words, masking: Masking) -> Rows:
    """Hide tokens of packed rows: inputs as the model sees them, and labels where one was chosen, -100 elsewhere.

    rows: as `packing.fill` writes them for these pieces of these documents; segments stay. keys [n]: of each document.
    """
    hidden = Rows(rows.inputs.copy(), np.full_like(rows.labels, IGNORED_LABEL), rows.segments)
    _mask(packing, text, keys, _compiled(masking), hidden)
    return hidden


def count_masked(packing: Packing, text: Text, keys: Words, masking: Masking) -> Ints:
    """Count the labels that `mask_rows` gives to each document in these pieces, int64 [n]."""
    counts = np.zeros(len(keys), np.int64)
    _count(packing, text, keys, _compiled(masking), counts)
    return counts


class _Bounds(NamedTuple):
    """Rates as bounds of 64-bit draws: one below the bound is within the share."""

    chosen: np.uint64
    masked: np.uint64
    changed: np.uint64  # masked, or another token
    mask: np.int32
    ordinary: npt.NDArray[np.int32]
    is_ordinary: npt.NDArray[np.bool_]


def _compiled(masking: Masking) -> _Bounds:
    rates, ordinary = masking.rates, np.ascontiguousarray(masking.ordinary).view()
    is_ordinary = np.zeros(int(ordinary[-1]) + 1, np.bool_)
    is_ordinary[ordinary] = True
    ordinary.flags.writeable = is_ordinary.flags.writeable = False
    chosen, masked, changed = map(_bound, (rates.chosen, rates.masked, rates.masked + rates.other))
    return _Bounds(chosen, masked, changed, np.int32(masking.mask), ordinary, is_ordinary)


def _bound(share: float) -> np.uint64:
    return np.uint64(min(int(share * 2.0**64), 2**64 - 1))


@njit(inline="always")
def _draw(key: np.uint64, position: int) -> np.uint64:
    """The draw of a position: those of one document are a splitmix64 stream."""
    return mix64_scalar(key + np.uint64(position) * GOLDEN)


@njit(inline="always")
def _is_chosen(token: np.int32, draw: np.uint64, bounds: _Bounds) -> bool:
    there = 0 <= token < len(bounds.is_ordinary)
    return bool(there and bounds.is_ordinary[token] and draw < bounds.chosen)


@njit(cache=True, nogil=True)
def _mask(pieces: Packing, text: Text, keys: Words, bounds: _Bounds, rows: Rows) -> None:
    row, start, document, document_start, length, _ = pieces
    inputs, labels, _ = rows
    for piece in range(len(row)):
        d, p = document[piece], document_start[piece]
        if text.blank[d]:
            continue
        r, a, first = row[piece], start[piece], text.offsets[d]
        for i in range(1 if p == 0 else 0, length[piece]):  # position q of a document holds its token q - 1
            token = text.tokens[first + p + i - 1]
            draw = _draw(keys[d], p + i)
            if not _is_chosen(token, draw, bounds):
                continue
            labels[r, a + i] = token
            fate = mix64_scalar(draw + GOLDEN)
            if fate < bounds.masked:
                inputs[r, a + i] = bounds.mask
            elif fate < bounds.changed:
                other = mix64_scalar(fate + GOLDEN) >> S32
                inputs[r, a + i] = bounds.ordinary[(other * np.uint64(len(bounds.ordinary))) >> S32]


@njit(cache=True, nogil=True)
def _count(pieces: Packing, text: Text, keys: Words, bounds: _Bounds, counts: Ints) -> None:
    _, _, document, document_start, length, _ = pieces
    for piece in range(len(document)):
        d, p = document[piece], document_start[piece]
        if text.blank[d]:
            continue
        first = text.offsets[d]
        for q in range(max(p, 1), p + length[piece]):
            counts[d] += _is_chosen(text.tokens[first + q - 1], _draw(keys[d], q), bounds)
