"""Is a bad candidate refused, a good one promoted, and the verdict the same wherever it is computed?"""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation import gate
from ray_jobs.evaluation.bootstrap import bounds, pair, student_t
from ray_jobs.evaluation.gate import Decision
from ray_jobs.evaluation.tasks.held_out_bits import bits_of

CONFIG = GateConfig(resamples=400)
SLICES = ("wire/2026-01", "wire/2026-02", "help/2026-02", "wire/2026-03")
FRESH = {"wire/2026-03"}


def held_out(seed, documents=60, slices=SLICES, noise=0.15, change=None):
    """Two models on the same documents: the second differs by `change[slice]` bits per byte, with t4 noise."""
    rng = np.random.default_rng(seed)
    names = np.repeat(slices, documents)
    num_bytes = rng.lognormal(7, 0.8, len(names)).astype(int) + 20
    rate = 1.2 + 0.2 * rng.standard_normal(len(names))
    shift = np.array([(change or {}).get(name, 0.0) for name in names])
    after = rate + shift + noise * rng.standard_t(4, len(names))
    ids = [rng.bytes(16) for _ in names]
    return table(ids, names, num_bytes, after), table(ids, names, num_bytes, rate)


def table(ids, names, num_bytes, bits_per_byte):
    return pa.table(
        {
            "id": pa.array(ids, pa.binary(16)),
            "slice": pa.array([str(name) for name in names]),
            "num_bytes": pa.array(np.asarray(num_bytes)),
            "nats": pa.array(np.asarray(bits_per_byte) * np.asarray(num_bytes) * math.log(2)),
        }
    )


def decide(candidate, champion, config, *, untrained=None, **rest) -> Decision:
    """The gate's decision on tables of nats."""
    reference, start = (None if t is None else bits_of(t) for t in (champion, untrained))
    return gate.decide(bits_of(candidate), reference, config, untrained=start, **rest)


def shuffled(data, seed):
    return data.take(pa.array(np.random.default_rng(seed).permutation(data.num_rows)))


def by_name(decision: Decision):
    return {s.name: s for s in decision.slices}


def test_a_candidate_that_learns_fresh_text_and_keeps_the_old_is_promoted():
    decision = decide(*held_out(1, 400, noise=0.01, change={"wire/2026-03": -0.04}), CONFIG, fresh_slices=FRESH)
    assert decision.promoted
    assert decision.fresh.verdict == "better" and decision.fresh.difference == pytest.approx(-0.04, abs=0.01)
    assert decision.fresh.low < decision.fresh.difference < decision.fresh.high < 0
    assert "3 old slices within 0.005" in decision.reasons[1]
    assert {s.name: s.role for s in decision.slices}["wire/2026-03"] == "fresh"


def test_one_old_slice_that_got_worse_refuses_the_candidate_and_is_named():
    change = {"wire/2026-03": -0.04, "help/2026-02": 0.05}
    decision = decide(*held_out(2, 400, noise=0.01, change=change), CONFIG, fresh_slices=FRESH)
    assert not decision.promoted
    assert by_name(decision)["help/2026-02"].verdict == "worse"
    assert by_name(decision)["wire/2026-01"].verdict == "within"
    assert any(reason.startswith("help/2026-02 is worse: +0.05") for reason in decision.reasons)


def test_a_noisy_old_slice_is_unclear_and_refuses():
    candidate, champion = held_out(3, 20, noise=0.3, change={"wire/2026-03": -2.0})
    decision = decide(candidate, champion, CONFIG, fresh_slices=FRESH)
    assert not decision.promoted and "unclear" in {s.verdict for s in decision.slices}


def test_the_champion_itself_is_not_promoted_over_itself():
    _, champion = held_out(4)
    decision = decide(champion, champion, CONFIG, fresh_slices=FRESH)
    assert not decision.promoted and "not shown to improve" in decision.reasons[0]
    assert all(s.verdict == "within" for s in decision.slices if s.role == "old")


def test_worse_fresh_text_refuses():
    tables = held_out(5, 200, noise=0.02, change={"wire/2026-03": 0.1})
    decision = decide(*tables, CONFIG, fresh_slices=FRESH)
    assert not decision.promoted and decision.reasons[0].startswith("fresh text got worse: +0.1")


@pytest.mark.slow
@pytest.mark.parametrize("documents", [8, 60])
def test_false_promotions_at_the_margin_stay_below_the_nominal_rate(documents):
    sims, wrong = 400, {"fresh": 0, "old": 0}
    for seed in range(sims):
        candidate, champion = held_out(seed, documents, slices=("a/1",))
        pairs = pair(candidate, champion)
        wrong["fresh"] += bounds(pairs, 0.95, 400, seed)[1] < 0
        wrong["old"] += bounds(pairs, 0.95, 400, seed)[0] > 0
    allowed = 0.05 + 3 * math.sqrt(0.05 * 0.95 / sims)
    assert wrong["fresh"] / sims <= allowed and wrong["old"] / sims <= allowed
    assert wrong["fresh"] / sims >= 0.005, "a bound that never errs has no power"


def test_a_clear_improvement_is_nearly_always_seen():
    change = {"wire/2026-03": -0.08}
    decisions = [
        decide(*held_out(seed, 200, noise=0.02, change=change), with_margin(0.02), fresh_slices=FRESH)
        for seed in range(40)
    ]
    assert sum(d.promoted for d in decisions) >= 36


def with_margin(margin):
    return CONFIG.model_copy(update={"old_margin": margin})


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(2, 30))
def test_the_order_of_the_documents_changes_nothing(seed, order, documents):
    candidate, champion = held_out(seed, documents)
    first = decide(candidate, champion, CONFIG, fresh_slices=FRESH)
    second = decide(shuffled(candidate, order), shuffled(champion, order + 1), CONFIG, fresh_slices=FRESH)
    assert first == second


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(-0.2, 0.2), st.floats(0, 0.2))
def test_a_larger_margin_never_turns_a_promotion_into_a_refusal(seed, change, margin):
    tables = held_out(seed, 30, noise=0.05, change={"wire/2026-03": change})
    strict = decide(*tables, with_margin(margin), fresh_slices=FRESH)
    loose = decide(*tables, with_margin(margin + 0.05), fresh_slices=FRESH)
    assert loose.promoted or not strict.promoted
    for s in strict.slices:
        assert s.low <= s.high and s.difference == pytest.approx(s.after - s.before)


def test_figures_are_paired_by_id_and_weighted_by_bytes():
    ids = [bytes([n]) * 16 for n in range(6)]
    before = table(ids, ["a/1"] * 6, [100] * 5 + [500], [1.0] * 6)
    after = table(ids[::-1], ["a/1"] * 6, [500] + [100] * 5, [2.0] + [1.0] * 5)
    result = decide(after, before, CONFIG, fresh_slices={"a/1"}).fresh
    assert (result.before, result.after) == pytest.approx((1.0, 1.5))


def test_documents_read_by_one_model_only_do_not_count_and_are_mentioned():
    candidate, champion = held_out(6)
    decision = decide(candidate.slice(7), champion, CONFIG, fresh_slices=FRESH)
    assert sum(s.documents for s in decision.slices) == candidate.num_rows - 7
    assert decision.reasons[-1].startswith("7 held-out documents were read by one model only")


def test_small_slices_are_judged_together_and_no_document_is_lost():
    names = ["wire/2026-01"] * 2 + ["wire/2026-02"] * 4 + ["help/2026-01"] * 3 + ["code/2026-01"] * 3
    names += ["wire/2026-03"] * 9
    ids = [bytes([n]) * 16 for n in range(len(names))]
    data = table(ids, names, [100] * len(names), [1.0] * len(names))
    decision = decide(data, data, CONFIG, fresh_slices=FRESH)
    counts = {s.name: s.documents for s in decision.slices}
    assert counts == {"wire/2026-03": 9, "other": 6, "wire other": 6}


def test_a_slice_too_small_to_judge_does_not_block_but_is_named():
    candidate, champion = held_out(7, 300, noise=0.01, slices=("wire/1", "wire/2"), change={"wire/2": -0.1})
    extra, base = held_out(8, 3, slices=("help/1",))
    both = [pa.concat_tables(x) for x in ((candidate, extra), (champion, base))]
    decision = decide(*both, CONFIG, fresh_slices={"wire/2"})
    assert decision.promoted and "other: 3 documents are too few to judge" in decision.reasons


def test_too_few_fresh_documents_refuse():
    candidate, champion = held_out(9, 3, noise=0.0, change={"wire/2026-03": -1.0})
    decision = decide(candidate, champion, CONFIG, fresh_slices=FRESH)
    assert not decision.promoted and "gate.min_documents=5" in decision.reasons[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_loss_that_is_not_finite_refuses_and_says_where(value, whose):
    tables = list(held_out(10))
    nats = tables[whose]["nats"].to_pylist()
    nats[3] = value
    tables[whose] = tables[whose].set_column(3, "nats", pa.array(nats, pa.float64()))
    decision = decide(*tables, CONFIG, fresh_slices=FRESH)
    assert not decision.promoted
    assert "is not finite on 1 of 240 held-out documents (wire/2026-01)" in decision.reasons[0]


@pytest.mark.parametrize("fresh", [set(), {"wire/2031-01"}])
def test_nothing_fresh_is_not_promoted(fresh):
    decision = decide(*held_out(11), CONFIG, fresh_slices=fresh)
    assert not decision.promoted and decision.reasons[0].startswith("nothing fresh")
    assert len(decision.slices) == 4 and decision.fresh is None


def test_the_first_champion_has_to_know_more_than_nothing():
    candidate, untrained = held_out(12, 50, noise=0.01, change=dict.fromkeys(SLICES, -0.2))
    assert decide(candidate, None, CONFIG, fresh_slices=FRESH).promoted
    assert decide(candidate, None, CONFIG, fresh_slices=FRESH, untrained=untrained).promoted
    worse = decide(untrained, None, CONFIG, fresh_slices=FRESH, untrained=candidate)
    assert not worse.promoted and "not shown to beat the untrained model" in worse.reasons[0]
    empty = decide(candidate.slice(0, 0), None, CONFIG, fresh_slices=FRESH)
    assert not empty.promoted and "no held-out document" in empty.reasons[0]


def test_no_old_slice_is_no_obstacle():
    tables = held_out(13, 100, slices=("a/1",), noise=0.01, change={"a/1": -0.1})
    decision = decide(*tables, CONFIG, fresh_slices={"a/1"})
    assert decision.promoted and "no old slice to protect yet" in decision.reasons


def test_a_decision_becomes_json_without_infinities():
    candidate, champion = held_out(14, 1)
    decision = decide(candidate, champion, CONFIG, fresh_slices=FRESH)
    assert decision.fresh.high == math.inf
    found = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert found["fresh"]["high"] is None and found["confidence"] == 0.95 and found["promoted"] is False


def test_the_same_tables_give_the_same_bounds_as_ever():
    low, high = bounds(pair(*map(bits_of, held_out(15, 30))), 0.95, 400, seed=0)
    assert (low, high) == (bounds(pair(*map(bits_of, held_out(15, 30))), 0.95, 400, seed=0))
    assert (low, high) != bounds(pair(*map(bits_of, held_out(15, 30))), 0.95, 400, seed=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pa.concat_tables([t, t.slice(0, 2)]), "repeats 2 ids"),
        (
            lambda t: t.set_column(2, "num_bytes", pa.array([0] * t.num_rows)),
            "240 items with size <= 0",
        ),
        (lambda t: t.set_column(0, "id", pa.array([b"short"] * t.num_rows)), "b'short'; ids are 16 bytes"),
    ],
)
def test_tables_that_cannot_be_right_are_refused_with_the_reason(change, message):
    candidate, champion = held_out(16)
    with pytest.raises(ValueError, match=message):
        decide(change(candidate), champion, CONFIG, fresh_slices=FRESH)


def test_student_t_agrees_with_the_tables():
    for freedom, known in ((4, 2.132), (9, 1.833), (29, 1.699), (1000, 1.646)):
        assert student_t(0.95, freedom) == pytest.approx(known, abs=0.003)


def test_a_confidence_that_is_no_confidence_is_refused():
    with pytest.raises(ValidationError):
        GateConfig(confidence=0.3)
    assert GateConfig(confidence="99%").confidence == pytest.approx(0.99)
