"""Is a hidden token a function of its document alone, at the rates that are set, and never a special one?"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.rounds.masking import EVALUATION, Masking, MaskRates, count_masked, mask_keys, mask_rows, masking_of
from data_ops.rounds.packing import IGNORED_LABEL, as_text, fill, pack

TOKENIZER = byte_tokenizer().with_mask()
MASKING = masking_of(TOKENIZER, 7, MaskRates())
D, MASK, UNKNOWN = TOKENIZER.document_token, TOKENIZER.mask_token, 5
SEP = ~3  # a token that is read and not learnt
sizes = st.lists(st.integers(0, 60), min_size=1, max_size=30)


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**63, (count, 2)).astype(np.uint64)


def documents(sizes, seed=0, special=()):
    """Flat tokens and offsets of random documents, which end with what is only read."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(np.array(sizes) + 1)]).astype(np.int64)
    tokens = rng.integers(0, 256, offsets[-1]).astype(np.int32)
    tokens[offsets[1:] - 1] = SEP
    return tokens, offsets


def hidden(tokens, offsets, ids, row_tokens, masking=MASKING, epoch=0, order=None):
    """(document, position) -> (input as seen, label) of all positions, whatever rows they lie in."""
    order = np.arange(len(ids)) if order is None else order
    parts = [tokens[a:b] for a, b in [(offsets[d], offsets[d + 1]) for d in order]]
    tokens = np.concatenate(parts) if parts else tokens[:0]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    packing, text = pack(np.diff(offsets) + 1, row_tokens), as_text(tokens, offsets)
    rows = fill(packing, tokens, offsets, D, row_tokens)
    keys = mask_keys(masking, ids[order], epoch)
    seen = mask_rows(rows, packing, text, keys, masking)
    assert np.array_equal(seen.segments, rows.segments)
    found = {}
    for row, start, document, first, length in zip(*packing[:5], strict=True):
        for i in range(length):
            place = int(order[document]), int(first + i)
            found[place] = int(seen.inputs[row, start + i]), int(seen.labels[row, start + i])
    counts = count_masked(packing, text, keys, masking)
    for at, document in enumerate(order):
        assert counts[at] == sum(label >= 0 for (d, _), (_, label) in found.items() if d == document)
    return found


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(4, 70), st.integers(4, 70), st.integers(0, 3), st.randoms(use_true_random=False))
def test_what_is_hidden_of_a_document_depends_on_nothing_beside_it(sizes, row_tokens, other_rows, epoch, random):
    tokens, offsets = documents(sizes)
    ids, order = random_ids(len(sizes)), list(range(len(sizes)))
    random.shuffle(order)
    whole = hidden(tokens, offsets, ids, row_tokens, epoch=epoch)
    assert hidden(tokens, offsets, ids, other_rows, epoch=epoch, order=np.array(order)) == whole
    some = np.array(order[: 1 + len(order) // 2])
    part = hidden(tokens, offsets, ids, other_rows, epoch=epoch, order=some)
    assert part == {place: pair for place, pair in whole.items() if place[0] in some}


@settings(max_examples=25, deadline=None)
@given(sizes, st.integers(4, 70))
def test_a_label_is_the_token_that_was_there_and_all_else_stays_as_it_was(sizes, row_tokens):
    tokens, offsets = documents(sizes)
    for (document, position), (seen, label) in hidden(tokens, offsets, random_ids(len(sizes)), row_tokens).items():
        stored = int(tokens[offsets[document] + position - 1]) if position else D
        if label == IGNORED_LABEL:
            assert seen == (stored if stored >= 0 else ~stored)
        else:
            assert label == stored and position > 0 and (seen in (MASK, stored) or seen < 256)


def labels_of(ids, epoch, masking=MASKING, length=400):
    """bool [documents, positions]: which are hidden of documents of one length, and what is seen there."""
    tokens = np.tile(np.arange(length, dtype=np.int32) % 250, len(ids))
    offsets = np.arange(len(ids) + 1) * length
    packing = pack(np.full(len(ids), length + 1), length + 1)
    rows = fill(packing, tokens, offsets, D, length + 1)
    seen = mask_rows(rows, packing, as_text(tokens, offsets), mask_keys(masking, ids, epoch), masking)
    back = np.argsort(packing.document)
    return (seen.labels >= 0)[back, 1:], seen.inputs[back, 1:], rows.inputs[back, 1:]


def within(count, of, share, sigmas=5.0):
    return abs(count - of * share) <= sigmas * np.sqrt(of * share * (1 - share)) + 1


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.05, 0.6),
    st.floats(0, 0.7),
    st.floats(0, 0.3),
    st.integers(0, 2**62),
    st.sampled_from([0, 9, EVALUATION]),
)
def test_rates_hold_within_the_bounds_of_a_binomial(share, masked, other, seed, epoch):
    masking = Masking(seed, MaskRates(share, masked, other), MASK, MASKING.ordinary)
    ids = np.stack([np.zeros(200, np.uint64), np.arange(200, dtype=np.uint64)], axis=1)  # as alike as ids can be
    chosen, seen, before = labels_of(ids, epoch, masking)
    assert within(chosen.sum(), chosen.size, share)
    count = chosen.sum()
    assert within((seen[chosen] == MASK).sum(), count, masked)
    changed = chosen & (seen != MASK) & (seen != before)
    assert within(changed.sum(), count, other * (1 - 1 / 256))
    assert (seen[~chosen] == before[~chosen]).all()


def test_hidden_tokens_are_independent_of_their_neighbours_of_other_documents_and_of_other_epochs():
    ids = random_ids(500, seed=3)
    first, second = labels_of(ids, 0)[0], labels_of(ids, 1)[0]
    share = MASKING.rates.chosen
    assert within((first & second).sum(), first.size, share**2)
    assert within((first[:, 1:] & first[:, :-1]).sum(), first[:, 1:].size, share**2)
    assert within((first[1:] & first[:-1]).sum(), first[1:].size, share**2)
    for positions in first.T:
        assert within(positions.sum(), len(positions), share)
    assert not np.array_equal(first, labels_of(ids, 0, MASKING._replace(seed=8))[0])
    assert np.array_equal(first, labels_of(ids, 0)[0])


def test_special_tokens_and_what_is_only_read_are_never_hidden_nor_drawn():
    masking = Masking(0, MaskRates(0.9, 0.0, 1.0), MASK, np.setdiff1d(MASKING.ordinary, [UNKNOWN]).astype(np.int32))
    tokens, offsets = documents([300] * 20)
    tokens[::3] = np.where(tokens[::3] >= 0, UNKNOWN, tokens[::3])
    found = hidden(tokens, offsets, random_ids(20), 64, masking)
    labels = {label for _, label in found.values()}
    assert UNKNOWN not in labels and D not in labels and ~SEP in {seen for seen, _ in found.values()}
    drawn = [seen for seen, label in found.values() if label >= 0]
    assert UNKNOWN not in drawn and len(set(drawn)) > 240 and max(drawn) < 256


def test_forgotten_documents_have_no_labels():
    tokens, offsets = documents([50, 50])
    packing = pack(np.array([52, 52]), 52)
    blank = np.array([True, False])
    text, keys = as_text(tokens, offsets, blank), mask_keys(MASKING, random_ids(2), 0)
    rows = fill(packing, tokens, offsets, D, 52, blank)
    seen = mask_rows(rows, packing, text, keys, MASKING)
    gone = int(packing.row[packing.document == 0][0])
    assert (seen.labels[gone] == IGNORED_LABEL).all() and (seen.inputs[gone] == D).all()
    counts = count_masked(packing, text, keys, MASKING)
    assert counts[0] == 0 and counts[1] == (seen.labels >= 0).sum() > 0


def test_a_tokenizer_without_a_mask_token_cannot_hide_any():
    with pytest.raises(ValueError, match="has no mask token"):
        masking_of(byte_tokenizer(), 0, MaskRates())


def test_the_masks_of_a_known_document_never_change():
    """Stores and scores hold what these give: another number here is another measure of every checkpoint."""
    ids = np.array([[1, 2]], np.uint64)
    chosen, seen, _ = labels_of(ids, EVALUATION, masking_of(TOKENIZER, 0, MaskRates()), length=60)
    places = np.flatnonzero(chosen[0]).tolist()
    assert list(zip(places, seen[0][places].tolist(), strict=True)) == KNOWN
    assert all(a < b for a, b in pairwise(places))


KNOWN = [(3, 257), (7, 257), (9, 257), (14, 257), (26, 257), (27, 27), (35, 35), (47, 257), (50, 257), (59, 59)]
