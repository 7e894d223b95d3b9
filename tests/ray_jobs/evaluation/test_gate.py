"""Is a bad candidate refused, a good one promoted, and the verdict the same wherever it is computed?"""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ray_jobs.config.blocks import GateConfig
from ray_jobs.evaluation.bounds import level_of
from ray_jobs.evaluation.decision import Decision, not_asked
from ray_jobs.evaluation.gate import Against, Terms, best, decide, pools_of
from ray_jobs.evaluation.tasks.held_out_bits import bits_of
from tests.support.judging.judged import FRESH, SLICES, held_out, table, text_of

CONFIG = GateConfig()
TERMS = Terms(1, 1, "news/00000005")


def judged(tables, terms=TERMS, config=CONFIG, drift=None, fresh=FRESH):
    candidate, champion = tables
    against = Against(None if drift is None else bits_of(drift))
    return decide(bits_of(candidate), bits_of(champion), text_of(champion, fresh), terms, config, against)


def shuffled(data, seed):
    return data.take(pa.array(np.random.default_rng(seed).permutation(data.num_rows)))


def test_a_candidate_that_learns_fresh_text_and_keeps_the_old_is_promoted():
    decision = judged(held_out(1, 400, noise=0.01, change={"wire/2026-03": -0.04}))
    assert decision.promoted and decision.verdict == "promoted"
    assert decision.fresh.verdict == "better" and decision.fresh.difference == pytest.approx(-0.04, abs=0.01)
    assert decision.fresh.low < decision.fresh.difference < decision.fresh.high < 0
    assert decision.sentence.startswith("promoted: fresh text got better: −0.0398 bits/byte, at most −0.03")
    assert "(ask 1 against news/00000005, level 0.024)" in decision.reasons[0]
    assert decision.reasons[1].startswith("old text stayed within 1.0% over 1,200 documents")


def test_one_old_slice_that_got_worse_refuses_the_candidate_and_is_named():
    names = [f"wire/2025-{month:02d}" for month in range(1, 11)] + ["wire/2026-03"]
    decision = judged(held_out(2, 200, names, noise=0.01, change={"wire/2026-03": -0.04, "wire/2025-04": 0.05}))
    assert decision.verdict == "refused"
    assert decision.reasons[0].startswith("wire/2025-04 got worse than the champion: +0.05")
    assert [s.verdict for s in decision.slices if s.role == "pool"] == ["within"], "the pool alone would not see it"


def test_old_text_that_lost_everywhere_a_little_more_than_the_margin_is_refused():
    change = {**dict.fromkeys(SLICES, 0.03), "wire/2026-03": -0.1}
    decision = judged(held_out(3, 400, noise=0.05, change=change))
    assert decision.reasons[0].startswith("old text of all sources lost more than 1.0% against the champion: +0.03")


def test_old_text_that_is_only_noisy_is_refused_with_advice_that_can_be_followed():
    decision = judged(held_out(3, 40, noise=0.15, change={"wire/2026-03": -0.5}))
    assert decision.verdict == "refused" and decision.reasons[0].startswith("old text of all sources may have lost")
    assert "more old documents (gate.old_documents, held_out) would show it, or a margin of" in decision.reasons[0]
    wider = float(decision.reasons[0].rpartition("a margin of ")[2].partition("%")[0]) / 100
    again = judged(held_out(3, 40, noise=0.15, change={"wire/2026-03": -0.5}), config=GateConfig(old_margin=wider))
    assert again.promoted


def test_the_champion_itself_is_not_promoted_over_itself():
    _, champion = held_out(4)
    decision = judged((champion, champion))
    assert decision.sentence.startswith("refused: fresh text is not shown to be better: 0.0000")
    assert decision.reasons[0].endswith("it does not look better")


def test_worse_fresh_text_refuses():
    decision = judged(held_out(5, 200, noise=0.02, change={"wire/2026-03": 0.1}))
    assert decision.reasons[0].startswith("fresh text got worse: +0.1")


def test_a_gain_too_small_to_be_shown_tells_how_many_documents_would_show_it():
    tables = held_out(6, 100, noise=0.05, change={"wire/2026-03": -0.01})
    decision = judged(tables, Terms(3, 1, "news/00000005", arrivals=12.0))
    assert decision.verdict == "refused"
    assert "more held-out documents would show it, in about" in decision.reasons[0]


@pytest.mark.parametrize(
    ("arrivals", "wait"), [(0.0, "more are needed"), (11.0, "in about 2 days"), (1440.0, "in about 22 min")]
)
def test_a_wait_is_told_in_a_unit_that_a_person_would_use(arrivals, wait):
    said = not_asked(10, level_of(1, 0.05), arrivals)
    assert said is not None and f"22 more are needed{', ' + wait if arrivals else ''}" in said.reasons[0]
    assert said.reasons[0].endswith("at today's rate" if arrivals else wait)


def test_the_level_is_spent_over_asks_and_candidates():
    tables = held_out(7, 200, noise=0.05, change={"wire/2026-03": -0.017})
    assert [judged(tables, Terms(k, 1, "a/1"), GateConfig(old_margin=0.5)).promoted for k in (1, 200)] == [True, False]
    bounds = [judged(tables, Terms(2, m, "a/1")).fresh.high for m in (1, 3, 30)]
    assert bounds == sorted(bounds)


def test_of_several_the_promoted_one_with_the_lowest_estimate_is_meant():
    good, better = (held_out(8, 300, noise=0.01, change={"wire/2026-03": -gain}) for gain in (0.03, 0.06))
    harmful = held_out(8, 300, noise=0.01, change={**dict.fromkeys(SLICES, 0.1), "wire/2026-03": -0.5})
    decisions = [judged(tables, Terms(1, 3, "a/1")) for tables in (good, better, harmful)]
    assert [d.promoted for d in decisions] == [True, True, False] and best(decisions) == 1
    assert best([Decision("refused", ["x"]), decisions[0]]) == 1


def test_many_small_losses_meet_the_drift_reference():
    """Each is within the margin of the champion before it; together they are not."""
    candidate, champion = held_out(9, 500, noise=0.01, change={**dict.fromkeys(SLICES, 0.008), "wire/2026-03": -0.05})
    start = champion.set_column(3, "nats", pa.array(np.asarray(champion["nats"]) * 0.96))
    assert judged((candidate, champion)).promoted
    decision = judged((candidate, champion), Terms(1, 1, "a/9"), drift=start)
    assert decision.verdict == "refused" and "against the drift reference" in decision.reasons[0]
    assert "promote --to --reference" in decision.reasons[0]
    assert judged((candidate, champion), Terms(1, 1, "a/9"), drift=champion).promoted


def test_what_is_lost_against_champion_and_drift_reference_is_said_once():
    tables = held_out(9, 500, noise=0.01, change={**dict.fromkeys(SLICES, 0.1), "wire/2026-03": -0.05})
    kept = tables[1].filter(pc.not_equal(tables[1]["slice"], "wire/2026-03"))  # what was old when it was written
    alone, both = judged(tables, Terms(1, 1, "a/9")), judged(tables, Terms(1, 1, "a/9"), drift=kept)
    assert alone.verdict == "refused" and both == alone


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(2, 30))
def test_the_order_of_the_documents_changes_nothing(seed, order, documents):
    candidate, champion = held_out(seed, documents)
    first = judged((candidate, champion))
    assert first == judged((shuffled(candidate, order), shuffled(champion, order + 1)))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(-0.2, 0.2), st.floats(0, 0.2))
def test_a_larger_margin_never_turns_a_promotion_into_a_refusal(seed, change, margin):
    tables = held_out(seed, 40, noise=0.05, change={"wire/2026-03": change})
    strict, loose = (judged(tables, config=GateConfig(old_margin=m)) for m in (margin, margin + 0.05))
    assert loose.promoted or not strict.promoted
    for s in strict.slices:
        assert s.low <= s.high and s.difference == pytest.approx(s.after - s.before)


def test_figures_are_paired_by_id_and_weighted_by_bytes():
    ids = [bytes([n]) * 16 for n in range(6)]
    before = table(ids, ["a/1"] * 6, [100] * 5 + [500], [1.0] * 6)
    after = table(ids[::-1], ["a/1"] * 6, [500] + [100] * 5, [2.0] + [1.0] * 5)
    result = judged((after, before), fresh={"a/1"}).fresh
    assert (result.before, result.after) == pytest.approx((1.0, 1.5))


def test_documents_read_by_one_model_only_do_not_count_and_are_mentioned():
    candidate, champion = held_out(10)
    decision = judged((candidate.slice(7), champion))
    assert decision.fresh.documents + sum(s.documents for s in decision.slices if s.role == "pool") == 240 - 7
    assert decision.reasons[-1].startswith("7 held-out documents were read by one model only")


def test_sources_are_pooled_by_size_alone():
    def pools(**sizes):
        return pools_of(np.repeat(list(sizes), list(sizes.values())))

    assert pools(a=1000, b=2000) == {"a": ["a"], "b": ["b"]}
    assert pools(a=1000, b=2000, c=30) == {"a": ["a", "c"], "b": ["b"]}
    assert pools(a=1000, b=600, c=500) == {"a": ["a"], "other sources": ["b", "c"]}
    assert pools(a=10, b=20) == {"all sources": ["a", "b"]}
    assert pools(a=10) == {"a": ["a"]}


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_loss_that_is_not_finite_refuses_and_says_where(value, whose):
    tables = list(held_out(11))
    nats = tables[whose]["nats"].to_pylist()
    nats[3] = value
    tables[whose] = tables[whose].set_column(3, "nats", pa.array(nats, pa.float64()))
    decision = judged(tables)
    assert decision.verdict == "refused"
    assert "is not finite on 1 of 240 held-out documents (wire/2026-01)" in decision.reasons[0]


def test_the_first_champion_has_to_know_more_than_the_untrained_model():
    candidate, untrained = held_out(12, 50, noise=0.01, change=dict.fromkeys(SLICES, -0.2))
    first = Terms()
    decision = judged((candidate, untrained), first)
    assert decision.promoted and decision.against == "the untrained model" and decision.fresh.documents == 200
    assert judged((untrained, candidate), first).verdict == "refused"


def test_no_old_text_is_no_obstacle():
    decision = judged(held_out(13, 100, ("a/1",), noise=0.01, change={"a/1": -0.1}), fresh={"a/1"})
    assert decision.promoted and "there is no old text to protect yet" in decision.reasons


def test_a_decision_becomes_json_without_infinities():
    decision = judged(held_out(14, 1))
    found = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert found["fresh"]["high"] is None and found["promoted"] is False and found["verdict"] == "refused"


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
    candidate, champion = held_out(15)
    with pytest.raises(ValueError, match=message):
        judged((change(candidate), champion))


def test_a_confidence_that_is_no_confidence_is_refused():
    with pytest.raises(ValidationError):
        GateConfig(confidence=0.3)
    assert GateConfig(confidence="99%").confidence == pytest.approx(0.99)
