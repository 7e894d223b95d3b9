"""Does a round hold every fresh document once, keep its budgets, and not care in which order it was asked?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_ops.rounds.config import RoundConfig
from data_ops.rounds.draw import choose_fresh, draw_replay
from data_ops.rounds.size import plan_batch

seeds = st.integers(0, 2**32)


def make_documents(seed, n):
    r = np.random.default_rng(seed)
    ids = r.integers(0, 2**64, (n, 2), dtype=np.uint64)
    return ids, np.maximum(r.lognormal(5, 1, n).astype(np.int64), 1), r.lognormal(0, 1, n)


def names(ids):
    return [tuple(i) for i in ids.tolist()]


def overflowing(tokens=4000, share=0.25):
    return RoundConfig(tokens=tokens, replay_share=share, max_backlog_tokens=1)


@settings(max_examples=60)
@given(seeds, st.integers(0, 400), st.one_of(st.none(), st.integers(1, 100_000)))
def test_each_fresh_document_is_chosen_or_shed_and_never_both(seed, n, limit):
    ids, lengths, weights = make_documents(seed, n)
    config = RoundConfig(tokens=8000, max_backlog_tokens=limit)
    chosen, shed = choose_fresh(ids, lengths, weights, config, seed, 3)
    assert (chosen ^ shed).all()
    if limit is None or lengths.sum() <= limit:
        assert chosen.all()
    else:
        assert lengths[chosen].sum() <= config.fresh_tokens or chosen.sum() == 1
        assert chosen.any()


@settings(max_examples=60)
@given(seeds, st.integers(1, 400))
def test_what_is_shed_depends_on_the_documents_and_not_on_their_order(seed, n):
    ids, lengths, weights = make_documents(seed, n)
    chosen, _ = choose_fresh(ids, lengths, weights, overflowing(), seed, 3)
    p = np.random.default_rng(seed).permutation(n)
    again, _ = choose_fresh(ids[p], lengths[p], weights[p], overflowing(), seed, 3)
    assert np.array_equal(again, chosen[p])


def test_shedding_prefers_weight_and_is_blind_to_length():
    r = np.random.default_rng(1)
    ids, n = r.integers(0, 2**64, (20_000, 2), dtype=np.uint64), 20_000
    lengths, weights = np.where(np.arange(n) % 2, 10, 190), np.where(np.arange(n) % 4 < 2, 3.0, 1.0)
    chosen, _ = choose_fresh(ids, lengths, weights, overflowing(tokens=40_000), 1, 0)
    heavy, light = chosen[weights == 3].sum(), chosen[weights == 1].sum()
    assert 2.2 < heavy / light < 4.0  # 3 for a small share of the corpus; about 300 drawn
    assert 0.75 < chosen[lengths == 10].sum() / chosen[lengths == 190].sum() < 1.33


def test_rounds_and_seeds_shed_differently():
    ids, lengths, weights = make_documents(1, 300)
    picks = [choose_fresh(ids, lengths, weights, overflowing(), *which)[0] for which in ((1, 1), (1, 2), (2, 1))]
    assert len({tuple(p.tolist()) for p in picks}) == 3


def test_a_single_document_longer_than_the_round_is_still_trained():
    chosen, shed = choose_fresh(np.zeros((1, 2), np.uint64), np.array([10**6]), np.ones(1), overflowing(), 0, 0)
    assert chosen.all() and not shed.any()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_weight_is_named(bad):
    ids, lengths, weights = make_documents(1, 5)
    weights[3] = bad
    with pytest.raises(ValueError, match=f"weight {bad} of document 3"):
        choose_fresh(ids, lengths, weights, overflowing(), 0, 0)


@settings(max_examples=80)
@given(seeds, st.integers(0, 300), st.integers(0, 60_000))
def test_replay_keeps_its_budget_and_comes_within_one_document_of_it(seed, n, budget):
    ids, lengths, _ = make_documents(seed, n)
    drawn = draw_replay(ids, lengths, ids[:0], budget, seed, 5)
    total = lengths[drawn].sum()
    assert total <= budget and len(set(drawn.tolist())) == len(drawn)
    left = np.setdiff1d(np.arange(n), drawn)
    assert len(left) == 0 or total + lengths[left].min() > budget


@settings(max_examples=80)
@given(seeds, st.integers(0, 300), st.integers(0, 20_000))
def test_replay_is_the_same_documents_in_the_same_order_however_candidates_are_listed(seed, n, budget):
    ids, lengths, _ = make_documents(seed, n)
    r = np.random.default_rng(seed)
    p = r.permutation(np.concatenate([np.arange(n), r.integers(0, max(n, 1), n // 3)]))  # some are offered twice
    exclude = ids[::7]
    first = names(ids[draw_replay(ids, lengths, exclude, budget, seed, 5)])
    again = names(ids[p][draw_replay(ids[p], lengths[p], r.permutation(exclude), budget, seed, 5)])
    assert first == again


@settings(max_examples=60)
@given(seeds, st.integers(1, 200), st.floats(0, 1))
def test_a_document_fresh_in_the_round_is_never_replayed_in_it(seed, n, share):
    ids, lengths, _ = make_documents(seed, n)
    fresh = ids[np.random.default_rng(seed).random(n) < share]
    drawn = draw_replay(ids, lengths, fresh, 10**9, seed, 5)
    assert set(names(ids[drawn])) == set(names(ids)) - set(names(fresh))


def test_replay_is_uniform_over_the_candidates_and_changes_with_the_round():
    ids = make_documents(1, 50)[0]
    counts = np.zeros(50)
    for number in range(4000):
        counts[draw_replay(ids, np.full(50, 10), ids[:0], 100, 3, number)] += 1
    chance = 0.2
    chi2 = ((counts - 4000 * chance) ** 2 / (4000 * chance * (1 - chance))).sum() * 49 / 50
    assert chi2 < 96  # 49 degrees of freedom, alpha 1e-4
    assert not np.array_equal(
        draw_replay(ids, np.full(50, 10), ids[:0], 100, 3, 1), draw_replay(ids, np.full(50, 10), ids[:0], 100, 4, 1)
    )


@settings(max_examples=200)
@given(st.integers(1, 10**7), st.floats(0, 0.95), st.sampled_from([64, 512, 2048]), st.integers(1, 64))
def test_batches_are_whole_hold_all_fresh_text_and_no_fewer_would_do(fresh, share, row_tokens, batch_rows):
    size = plan_batch(fresh, RoundConfig(replay_share=share), row_tokens, batch_rows)
    batch = row_tokens * batch_rows
    assert size.rows == size.steps * batch_rows and size.steps >= 1
    assert fresh + size.replay_positions <= size.steps * batch
    if share > 0:
        assert fresh + size.replay_positions == size.steps * batch
        assert size.replay_positions >= math.floor(fresh * share / (1 - share)) - 1
    else:
        assert size.replay_positions == 0
    assert (size.steps - 1) * batch < fresh / (1 - share) + 1e-3


@settings(max_examples=40)
@given(seeds, st.sampled_from([0.1, 0.25, 0.5]))
def test_the_replayed_share_is_within_one_document_and_one_batch_of_the_target(seed, share):
    _, fresh, _ = make_documents(seed, 200)
    ids, lengths, _ = make_documents(seed + 1, 3000)
    size = plan_batch(int(fresh.sum()), RoundConfig(replay_share=share), 512, 4)
    drawn = draw_replay(ids, lengths, ids[:0], size.replay_positions, seed, 0)
    replay, wanted = lengths[drawn].sum(), fresh.sum() * share / (1 - share)
    assert wanted - lengths.max() <= replay < wanted + 512 * 4 + 1


def test_a_share_that_floats_cannot_hold_does_not_cost_a_step():
    assert plan_batch(2304, RoundConfig(replay_share=0.55), 1024, 1).steps == 5
    assert plan_batch(10752, RoundConfig(replay_share=0.3), 1024, 1).steps == 15


def test_with_nothing_fresh_only_a_starved_replay_round_has_steps():
    for starved, steps in (("stop", 0), ("wait", 0), ("replay", 4)):
        size = plan_batch(0, RoundConfig(tokens=4096, starved=starved), 256, 4)
        assert size.steps == steps and size.replay_positions == steps * 1024


def test_config_reads_people_and_refuses_nonsense():
    config = RoundConfig(tokens=1000, replay_share="20%", max_seconds="2m")
    assert config.replay_share == pytest.approx(0.2) and config.max_seconds == 120 and config.fresh_tokens == 800
    for bad in (
        {"replay_share": 1.0},
        {"tokens": 0},
        {"starved": "panic"},
        {"max_backlog_tokens": 0},
        {"max_seconds": 0},
    ):
        with pytest.raises(ValidationError):
            RoundConfig(**bad)
