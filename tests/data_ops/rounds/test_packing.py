"""Is every prediction of every document made exactly once, in rows that are full, whole and told apart?"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.rounds.packing import IGNORED_LABEL, PADDING_SEGMENT, Packing, fill, num_labels, pack, row_order

D = 999
sizes = st.lists(st.integers(0, 90), max_size=60)
rows_of = st.integers(1, 40)


def documents(sizes, seed=0):
    """Flat tokens and offsets of documents with these numbers of tokens; every token is different."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.arange(offsets[-1], dtype=np.int32) + 1000, offsets


def packed(sizes, row_tokens):
    tokens, offsets = documents(sizes)
    packing = pack(np.diff(offsets) + 1, row_tokens)
    return packing, fill(packing, tokens, offsets, D, row_tokens), tokens, offsets


def unpack(packing, rows, num_documents):
    """The documents as lists of (input, label), read back piece by piece."""
    read = [{} for _ in range(num_documents)]
    for row, start, document, first, length in zip(*packing[:5], strict=True):
        for i in range(length):
            assert first + i not in read[document]
            read[document][first + i] = (int(rows.inputs[row, start + i]), int(rows.labels[row, start + i]))
    return [[pairs[i] for i in range(len(pairs))] for pairs in read]


@settings(max_examples=60)
@given(sizes, rows_of)
def test_every_position_of_every_document_is_predicted_exactly_once(sizes, row_tokens):
    packing, rows, tokens, offsets = packed(sizes, row_tokens)
    expected = []
    for first, last in pairwise(offsets):
        text = tokens[first:last].tolist()
        expected.append(list(zip([D, *text], [*text, D], strict=True)))
    assert unpack(packing, rows, len(sizes)) == expected
    assert (rows.labels != IGNORED_LABEL).sum() == sum(sizes) + len(sizes)


@settings(max_examples=60)
@given(sizes, rows_of)
def test_no_row_is_overfull_and_pieces_stand_in_order_without_gaps_or_overlap(sizes, row_tokens):
    packing, rows, _, _ = packed(sizes, row_tokens)
    assert np.array_equal(np.lexsort((packing.start, packing.row)), np.arange(len(packing.row)))
    for row in range(packing.num_rows):
        mine = packing.row == row
        lengths, starts = packing.length[mine], packing.start[mine]
        assert lengths.min() >= 1 and lengths.sum() <= row_tokens
        assert np.array_equal(starts, np.cumsum(lengths) - lengths)
        expected = np.repeat(np.arange(len(lengths)), lengths)
        assert np.array_equal(rows.segments[row, : len(expected)], expected)
        assert (rows.segments[row, len(expected) :] == PADDING_SEGMENT).all()
        assert (rows.labels[row, len(expected) :] == IGNORED_LABEL).all()
        assert (rows.inputs[row, len(expected) :] == D).all()
    assert rows.inputs.shape == (packing.num_rows, row_tokens)


@settings(max_examples=60)
@given(sizes, rows_of)
def test_nothing_that_fits_is_cut_and_what_does_not_is_cut_into_full_rows_and_a_rest(sizes, row_tokens):
    packing, *_ = packed(sizes, row_tokens)
    for document, size in enumerate(sizes):
        mine = packing.document == document
        in_order = packing.length[mine][np.argsort(packing.document_start[mine])]
        full, rest = divmod(size + 1, row_tokens)
        assert in_order.tolist() == [row_tokens] * full + [rest] * (rest > 0)


@settings(max_examples=50)
@given(sizes, rows_of)
def test_the_last_token_of_a_document_never_predicts_the_next_documents_first(sizes, row_tokens):
    packing, rows, tokens, offsets = packed(sizes, row_tokens)
    last = tokens[offsets[1:][np.diff(offsets) > 0] - 1]
    assert set(rows.labels[np.isin(rows.inputs, last)].tolist()) <= {D}
    begins = np.diff(rows.segments, axis=1, prepend=-2) != 0
    ours = rows.segments >= 0
    first_pieces = (packing.document_start == 0).sum()
    assert (rows.inputs[begins & ours] == D).sum() >= first_pieces


@settings(max_examples=50)
@given(sizes, st.integers(2, 40))
def test_rows_are_those_of_plain_best_fit_and_at_most_one_is_half_empty(sizes, row_tokens):
    packing, *_ = packed(sizes, row_tokens)
    rooms, full = [], 0  # an independent best fit, in quadratic time
    for length in sorted((s + 1 for s in sizes), key=lambda n: -(n % row_tokens)):
        full += length // row_tokens
        rest = length % row_tokens
        fits = [room for room in rooms if room >= rest]
        if rest and fits:
            rooms.remove(min(fits))
        if rest:
            rooms.append((min(fits) if fits else row_tokens) - rest)
    used = np.bincount(packing.row, packing.length, minlength=packing.num_rows)
    assert sorted((row_tokens - used[full:]).tolist()) == sorted(rooms) and (used[:full] == row_tokens).all()
    assert (used <= row_tokens / 2).sum() <= 1


@settings(max_examples=30)
@given(st.integers(1, 20_000), st.integers(0, 99))
def test_any_row_length_up_to_many_machine_words_finds_the_tightest_row(row_tokens, seed):
    lengths = np.random.default_rng(seed).integers(1, row_tokens + 1, 60)
    packing = pack(lengths, row_tokens)
    rooms = []
    for length in sorted(lengths.tolist(), reverse=True):
        fits = [room for room in rooms if room >= length]
        if fits:
            rooms.remove(min(fits))
        rooms.append((min(fits) if fits else row_tokens) - length)
    used = np.bincount(packing.row, packing.length)
    assert sorted((row_tokens - used).tolist()) == sorted(rooms)


def test_packing_twice_gives_the_same_and_read_only_lengths_are_taken():
    lengths = np.random.default_rng(0).integers(1, 3000, 5000)
    first = pack(lengths, 1024)
    lengths.flags.writeable = False
    for a, b in zip(first, pack(lengths, 1024), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_documents_make_no_rows():
    packing, rows, *_ = packed([], 16)
    assert packing.num_rows == 0 and rows.inputs.shape == (0, 16)


def test_an_empty_document_is_one_prediction_of_the_document_token_by_itself():
    _, rows, *_ = packed([0, 0], 4)
    assert rows.inputs.tolist() == [[D] * 4] and rows.segments.tolist() == [[0, 1, -1, -1]]
    assert rows.labels.tolist() == [[D, D, -100, -100]]


def test_a_million_documents_are_packed_almost_without_padding():
    lengths = np.maximum(np.random.default_rng(1).lognormal(6.2, 1.1, 1_000_000).astype(np.int64), 1)
    packing = pack(lengths, 2048)
    assert 1 - lengths.sum() / (packing.num_rows * 2048) < 1e-4
    assert (
        np.bincount(packing.document, packing.length, minlength=len(lengths)).astype(int).tolist() == lengths.tolist()
    )
    assert np.bincount(packing.row, packing.length).max() == 2048


def test_chosen_rows_and_empty_rows_can_be_filled_alone():
    packing, rows, tokens, offsets = packed([5, 9, 3, 30, 2, 7], 16)
    keep = packing.row == 1
    one = Packing(packing.row[keep] * 0, *(column[keep] for column in packing[1:5]), num_rows=3)
    part = fill(one, tokens, offsets, D, 16)
    for alone, among in zip(part, rows, strict=True):
        np.testing.assert_array_equal(alone[0], among[1])
    assert (part.labels[1:] == IGNORED_LABEL).all() and (part.segments[1:] == PADDING_SEGMENT).all()


def test_sliced_and_32_bit_offsets_are_taken_as_arrow_gives_them():
    tokens, offsets = documents([4, 6, 5])
    packing = pack(np.array([7, 6]), 16)
    rows = fill(packing, tokens, offsets[1:].astype(np.int32), D, 16)
    assert rows.inputs[0, :7].tolist() == [D, *tokens[4:10].tolist()]


def test_mistakes_are_named():
    tokens, offsets = documents([4, 6])
    packing = pack(np.array([5, 7]), 16)
    with pytest.raises(ValueError, match="document 1 has 0 positions"):
        pack(np.array([3, 0]), 16)
    with pytest.raises(ValueError, match="row_tokens=0"):
        pack(np.array([3]), 0)
    with pytest.raises(ValueError, match="run to 10 in 9 tokens"):
        fill(packing, tokens[:9], offsets, D, 16)
    with pytest.raises(ValueError, match="fits no row or document"):
        fill(packing, tokens, offsets, D, 8)
    with pytest.raises(ValueError, match="fits no row or document"):
        fill(packing._replace(num_rows=0), tokens, offsets, D, 16)
    with pytest.raises(ValueError, match="fits no row or document"):
        fill(pack(np.array([5, 9]), 16), tokens, offsets, D, 16)


@settings(max_examples=50)
@given(st.integers(0, 3000), st.integers(0, 2**63), st.integers(0, 10**6))
def test_row_order_is_a_permutation_that_changes_with_seed_and_round(num_rows, seed, round_number):
    order = row_order(num_rows, seed, round_number)
    assert np.array_equal(np.sort(order), np.arange(num_rows))
    assert np.array_equal(order, row_order(num_rows, seed, round_number))
    if num_rows > 50:
        for other in (row_order(num_rows, seed + 1, round_number), row_order(num_rows, seed, round_number + 1)):
            assert (other == order).mean() < 0.2


talks = st.lists(st.lists(st.booleans(), min_size=1, max_size=60).map(lambda learnt: [False, *learnt[1:]]), max_size=30)


@settings(max_examples=60)
@given(talks, sizes, rows_of)
def test_of_a_conversation_the_answers_alone_are_labels_and_its_first_token_stands_at_the_start(
    talks, plain, row_tokens
):
    """Every masked token comes back as an input, and never as a label; plain text between them stays as it was."""
    learnt = [*talks, *([True] * size for size in plain)]
    tokens, offsets = documents([len(one) for one in learnt])
    stored = np.where(np.array([one for talk in learnt for one in talk], bool), tokens, ~tokens)
    packing = pack(np.diff(offsets) + 1, row_tokens)
    rows = fill(packing, stored, offsets, D, row_tokens)
    found = unpack(packing, rows, len(learnt))
    for number, (mask, pairs) in enumerate(zip(learnt, found, strict=True)):
        own = tokens[offsets[number] : offsets[number + 1]].tolist()
        is_talk = number < len(talks)
        assert [pair[0] for pair in pairs] == [D, *own]
        wanted = [token if keep else IGNORED_LABEL for token, keep in zip(own, mask, strict=True)]
        assert [pair[1] for pair in pairs] == [*wanted, IGNORED_LABEL if is_talk else D]
    for row, start, document, first, length in zip(*packing[:5], strict=True):
        apart = 1 if document < len(talks) and first == 0 else 0
        segments = rows.segments[row, start : start + length]
        assert (segments[:apart] == PADDING_SEGMENT).all() and len(set(segments[apart:].tolist())) <= 1
        assert (segments[apart:] >= 0).all()
    blank = np.zeros(len(learnt), bool)
    assert num_labels(packing, stored, offsets, blank) == (rows.labels != IGNORED_LABEL).sum()
    blank[: len(talks)] = True
    forgotten = fill(packing, stored, offsets, D, row_tokens, blank)
    assert num_labels(packing, stored, offsets, blank) == (forgotten.labels != IGNORED_LABEL).sum()
