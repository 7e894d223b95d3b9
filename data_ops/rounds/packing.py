"""How do documents of any length become rows of one length, without cutting or wasting what need not be?

Best fit, longest first: every document goes whole into the fullest row that still takes it; only one
longer than a row is cut, into full rows and a remainder. Each of a document's positions keeps its own
label, so that cutting loses no prediction. Against concatenate-and-cut, which cuts every fourth document,
it costs a sort: 0.1 us a document.

A token t that is read and not learnt (the question in a conversation) is stored as ~t, which is negative; so whatever
carries tokens carries that too. Rows turn it back, and have no label there.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from cluster.rows import Rows
from data_ops.kernels.arrays import Ints
from data_ops.kernels.best_fit import Tokens, best_fit
from data_ops.kernels.hashing import hash_ids

IGNORED_LABEL = -100  # what torch's cross entropy skips
PADDING_SEGMENT = -1


class Packing(NamedTuple):
    """Which piece of which document lies where: int64[m] each, one entry a piece, sorted by (row, start)."""

    row: Ints
    start: Ints  # first position in the row
    document: Ints
    document_start: Ints  # first position in the document
    length: Ints
    num_rows: int


class Text(NamedTuple):
    """Documents in Arrow's list layout, and which of them hold nothing; make one with `as_text`."""

    tokens: Tokens
    offsets: Ints
    blank: npt.NDArray[np.bool_]


def as_text(tokens: npt.NDArray[np.int32], offsets: Ints, blank: npt.NDArray[np.bool_] | None = None) -> Text:
    """Say what documents hold, in a form that compiled functions take; blank None: all hold what they say."""
    offsets = np.ascontiguousarray(offsets, np.int64).view()
    tokens = np.ascontiguousarray(tokens, np.int32).view()
    offsets.flags.writeable = tokens.flags.writeable = False  # one compiled version, wherever they come from
    return Text(tokens, offsets, np.zeros(max(0, len(offsets) - 1), np.bool_) if blank is None else blank)


def pack(lengths: Ints, row_tokens: int) -> Packing:
    """Place documents of `lengths` positions (their tokens and the document token, so 1 or more) into rows.

    Best-fit decreasing (Coffman, Garey and Johnson; for language models Ding et al. 2024), ties by document
    number: deterministic. The full rows of documents that are too long come first. Raises ValueError for a
    length below 1.
    """
    lengths = np.ascontiguousarray(lengths, np.int64)
    if row_tokens < 1:
        raise ValueError(f"row_tokens={row_tokens} is below 1; use for example 2048")
    if len(lengths) and int(lengths.min()) < 1:
        short = int(lengths.argmin())
        raise ValueError(f"document {short} has {lengths[short]} positions; count its tokens and the document token")
    lengths = lengths.view()
    lengths.flags.writeable = False
    return Packing(*best_fit(lengths, row_tokens))


def fill(
    packing: Packing,
    tokens: Tokens,
    document_offsets: Ints,
    document_token: int,
    row_tokens: int,
    blank: npt.NDArray[np.bool_] | None = None,
) -> Rows:
    """Write the rows of a packing.

    tokens int32[T] and document_offsets [n+1] are Arrow's list layout: document d is
    tokens[document_offsets[d]:document_offsets[d+1]], t1..tn. Its n+1 positions have inputs D t1..tn and labels
    t1..tn D, D being the document token; an empty document is the one prediction D -> D. A stored ~t is input t and
    label -100. A document that begins with one is a conversation: neither its first D nor its last belongs to it. The
    first stands apart as padding does, so that the conversation begins at position 0, as in a prompt; the last is no
    label.
    blank, bool[n]: documents that keep their positions and segment but hold nothing (inputs D, labels -100), whatever
    their tokens are. Raises ValueError where the packing does not belong to these documents or rows.
    """
    text = as_text(tokens, document_offsets, blank)
    tokens, offsets, blank = text
    if len(offsets) and not (offsets[0] >= 0 and offsets[-1] <= len(tokens) and (np.diff(offsets) >= 0).all()):
        raise ValueError(
            f"document offsets run to {offsets[-1]} in {len(tokens)} tokens; give Arrow's offsets and values"
        )
    if len(blank) != max(0, len(offsets) - 1):
        raise ValueError(
            f"blank says {len(blank)} documents where the offsets are of {len(offsets) - 1}; give one each"
        )
    rows = Rows(*np.empty((3, packing.num_rows, row_tokens), np.int32))
    wrong = _fill(packing, text, np.int32(document_token), rows)
    if wrong >= 0:
        piece = [int(column[wrong]) for column in packing[:5]]
        raise ValueError(
            f"piece {piece} (row, start, document, document start, length) fits no row or document; pack anew"
        )
    return rows


def num_labels(packing: Packing, tokens: Tokens, document_offsets: Ints, blank: npt.NDArray[np.bool_]) -> int:
    """Count the labels other than -100 that `fill` writes for these pieces."""
    return int(_count(packing, as_text(tokens, document_offsets, blank)))


def row_order(num_rows: int, seed: int, round_number: int) -> Ints:
    """Return a permutation of the rows, a pure function of its arguments: rows are trained in this order."""
    rows = np.zeros((num_rows, 2), np.uint64)
    rows[:, 1] = np.arange(num_rows)
    return np.argsort(hash_ids(rows, seed, round_number), kind="stable")


@njit(cache=True, nogil=True)
def _fill(pieces: Packing, text: Text, document_token: np.int32, rows: Rows) -> int:
    """Write all rows in one pass; return the first piece that fits nowhere, or -1."""
    row, start, document, document_start, length, _ = pieces
    tokens, offsets, blank = text
    inputs, labels, segments = rows
    row_tokens = inputs.shape[1]
    piece = 0
    for r in range(inputs.shape[0]):
        end = 0
        segment = 0
        while piece < len(row) and row[piece] == r:
            a, d, p, n = start[piece], document[piece], document_start[piece], length[piece]
            if a != end or n < 1 or a + n > row_tokens or not 0 <= d < len(offsets) - 1 or p < 0:
                return piece
            first, last = offsets[d], offsets[d + 1]  # position q has input tokens[first+q-1], label tokens[first+q]
            if p + n > last - first + 1 and not blank[d]:
                return piece
            end = a + n
            is_conversation = not blank[d] and last > first and tokens[first] < 0
            segments[r, a:end] = segment
            if is_conversation and p == 0:
                segments[r, a] = PADDING_SEGMENT
            segment += 1
            piece += 1
            if blank[d]:
                inputs[r, a:end] = document_token
                labels[r, a:end] = IGNORED_LABEL
                continue
            tail = 1 if first + p + n > last else 0
            into, given = labels[r, a : end - tail], tokens[first + p : first + p + n - tail]
            for i in range(len(into)):
                into[i] = given[i] if given[i] >= 0 else IGNORED_LABEL
            if tail:
                labels[r, end - 1] = IGNORED_LABEL if is_conversation else document_token
            head = 1 if p == 0 else 0
            if head:
                inputs[r, a] = document_token
            into, given = inputs[r, a + head : end], tokens[first + p + head - 1 : first + p + n - 1]
            for i in range(len(into)):
                into[i] = given[i] if given[i] >= 0 else ~given[i]
        inputs[r, end:] = document_token
        labels[r, end:] = IGNORED_LABEL
        segments[r, end:] = PADDING_SEGMENT
    return piece if piece < len(row) else -1


@njit(cache=True, nogil=True)
def _count(pieces: Packing, text: Text) -> int:
    """Count labels; a document that is no conversation has one at each position, and is not looked at."""
    _, _, document, document_start, length, _ = pieces
    tokens, offsets, blank = text
    count = 0
    for piece in range(len(document)):
        d, p, n = document[piece], document_start[piece], length[piece]
        first, last = offsets[d], offsets[d + 1]
        if blank[d]:
            continue
        if last == first or tokens[first] >= 0:
            count += n
            continue
        for i in range(first + p, min(first + p + n, last)):
            count += tokens[i] >= 0
    return count
