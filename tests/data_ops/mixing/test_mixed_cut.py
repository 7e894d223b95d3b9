"""Does every document come exactly once, whatever the mixture, its changes, growth, and the moments of looking?"""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.documents.place import Documents
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest
from data_ops.rounds.next_round import NothingLeft
from tests.data_ops.mixing.mixed_logs import LABELS, MixedRun, logs, places, window_rows

parts = st.dictionaries(st.sampled_from(LABELS), st.sampled_from([0.0, 0.01, 0.2, 1.0, 7.0]), min_size=1).filter(
    lambda shares: sum(shares.values()) > 0
)
idle = st.sampled_from([{}, {}, {"paused": ("b",)}, {"removed": ("c",)}, {"paused": ("a",), "removed": ("b",)}])


def all_named(shares):
    return {label: shares.get(label, 0.3) for label in LABELS}


def stages(shares):
    return {"schedule": tuple({"at": 700 * n, "shares": one} for n, one in enumerate(shares))}


kinds = st.one_of(
    st.just({}),
    st.just({"shares": "proportional"}),
    st.just({"shares": "by_time"}),
    st.builds(lambda shares: {"shares": shares}, parts),
    st.builds(lambda shares, floor: {"shares": shares, "floor": floor}, parts, st.sampled_from([0.05, 0.3])),
    st.builds(stages, st.lists(parts, min_size=1, max_size=3)),
)
mixtures = st.builds(lambda kind, idle: MixtureConfig.model_validate({**kind, **idle}), kinds, idle)
configs = st.builds(
    RoundConfig, tokens=st.integers(60, 800), replay_share=st.sampled_from([0.0, 0.25, 0.6]), starved=st.just("stop")
)


def done_of(manifests):
    return [p for m in manifests for p in (*places(m.fresh), *places(m.shed))]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(logs(), configs, st.lists(mixtures, min_size=1, max_size=4), st.data())
def test_every_document_comes_at_most_once_and_none_is_passed_by(windows, config, versions, data):
    """Through changes at any round, growth, and looks at any moment; at the end nothing active is left."""
    run = MixedRun(windows, config, versions[0])
    known = data.draw(st.integers(0, len(windows)))
    for version in versions[1:]:
        for _ in range(data.draw(st.integers(0, 3))):
            run.plan(known, drained=known == len(windows), late=data.draw(st.booleans()))
        known = data.draw(st.integers(known, len(windows)))
        run.change(version)
    everyone = MixtureConfig(shares=dict.fromkeys(LABELS, 1))
    run.plan_all()
    if run.manifests:
        run.change(everyone)
        run.plan_all()
    manifests = run.manifests
    done = Counter(done_of(manifests))
    assert set(done.values()) <= {1}, "no document twice"
    if manifests:
        log, ends = run.log, manifests[-1].ends
        waits = ends.waiting(log["source"], log["window"].to_numpy(), log["position"].to_numpy())
        passed = places(Documents.from_table(log.filter(pa.array(~waits))))
        assert sorted(done) == sorted(passed), "what the rounds have gone behind is what they have taken or shed"
        assert sorted(done) == sorted(places(Documents.from_table(log))), "all of it, once everyone has a share"
    for before, m in pairwise(manifests):
        assert m.begins == before.ends
        assert before.begins.is_behind(m.begins)
        assert m.mix.trained == before.mix.trained + m.documents.lengths.sum()


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(logs(), configs, mixtures, st.data())
def test_rounds_do_not_depend_on_how_far_ingest_was_when_they_were_planned(windows, config, mixture, data):
    eager, patient = MixedRun(windows, config, mixture), MixedRun(windows, config, mixture)
    eager.plan_all()
    for known in range(len(windows) + 1):
        if known == len(windows) or data.draw(st.booleans()):
            while isinstance(patient.plan(known, drained=known == len(windows)), Manifest):
                pass
    assert [m.to_row() for m in patient.manifests] == [m.to_row() for m in eager.manifests]


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(logs(), configs, st.lists(mixtures, min_size=1, max_size=3))
def test_only_text_that_was_planned_before_is_replayed_and_nothing_of_a_removed_source(windows, config, versions):
    run = MixedRun(windows, config, versions[0])
    for version in versions:
        run.change(version)
        run.plan(len(windows), drained=True)
    sources = dict(zip(places(Documents.from_table(run.log)), run.log["source"].to_pylist(), strict=True))
    planned = set()
    for m, version in zip(run.manifests, versions, strict=False):
        assert set(places(m.replay)) <= planned
        planned |= set(done_of([m]))
        if len(run.manifests) == len(versions):
            assert not {sources[p] for p in places(m.replay)} & set(version.removed)
    for before, upto in pairwise(run.sampled):
        assert before.is_behind(upto), "the reservoir only ever takes in more"


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(logs(), configs)
def test_a_mixture_that_says_nothing_trains_the_log_in_its_order(windows, config):
    plain, said = MixedRun(windows, config, None), MixedRun(windows, config, MixtureConfig())
    fresh = [[places(m.fresh) for m in run.plan_all()] for run in (plain, said)]
    assert fresh[0] == fresh[1]


@pytest.mark.slow
@pytest.mark.long
def test_realised_shares_are_within_one_percent_over_a_thousand_rounds():
    rng = np.random.default_rng(3)
    shares = {"a": 0.7, "b": 0.2, "c": 0.1}
    run = MixedRun(
        [window_rows(n, {"a": 2200, "b": 700, "c": 330}, rng) for n in range(30)],
        RoundConfig(tokens=600, replay_share=0.0),
        MixtureConfig(shares=shares),
    )
    while len(run.manifests) < 1000 and isinstance(run.plan(30), Manifest):
        pass
    assert len(run.manifests) == 1000
    total = Counter()
    for n, m in enumerate(run.manifests):
        total.update(m.mix.tokens)
        assert max(abs(owed) for owed in m.mix.credits.values()) <= 2 * 41, (
            f"round {n} is further off than two documents"
        )
    for label, share in shares.items():
        assert abs(total[label] / total.total() - share) < 0.001
    assert all(set(m.mix.tokens) == set(shares) and min(m.mix.tokens.values()) > 0 for m in run.manifests)


def test_two_sources_of_unequal_size_are_both_in_every_round_from_the_first():
    rng = np.random.default_rng(0)
    windows = [window_rows(0, {"big": 5000, "small": 500}, rng)]
    for shares in ({"big": 1, "small": 1}, "proportional"):
        run = MixedRun(windows, RoundConfig(tokens=2000, replay_share=0.0), MixtureConfig(shares=shares))
        for _ in range(10):
            m = run.plan(1)
            assert isinstance(m, Manifest) and min(m.mix.tokens.values()) > 0 and len(m.mix.tokens) == 2
    plain = MixedRun(windows, RoundConfig(tokens=2000, replay_share=0.0), None)
    plain.plan(1)
    labels = dict(zip(places(Documents.from_table(plain.log)), plain.log["source"].to_pylist(), strict=True))
    assert {labels[p] for p in places(plain.manifests[0].fresh)} == {"big"}, "without a mixture only one is"


def test_a_source_that_runs_dry_gives_its_share_to_the_others_and_is_named():
    rng = np.random.default_rng(1)
    windows = [window_rows(0, {"a": 300, "b": 20, "c": 300}, rng)]
    run = MixedRun(windows, RoundConfig(tokens=1000, replay_share=0.0), MixtureConfig(shares={"a": 2, "b": 4, "c": 2}))
    run.plan(1, drained=True)
    m = run.plan_all()[1]
    assert run.manifests[0].mix.dry == ("b",) and m.mix.dry == ("b",)
    assert "b" not in m.mix.tokens and abs(m.mix.tokens["a"] - m.mix.tokens["c"]) < 82
    assert m.fresh.lengths.sum() > 900, "the round is as large as ever"


def test_a_source_that_was_dry_is_owed_nothing_when_it_comes_back():
    rng = np.random.default_rng(2)
    windows = [window_rows(n, {"a": 200, "b": 200 if n == 3 else 0}, rng) for n in range(4)]
    run = MixedRun(windows, RoundConfig(tokens=1000, replay_share=0.0), MixtureConfig(shares={"a": 1, "b": 1}))
    while not run.manifests or not run.manifests[-1].mix.tokens.get("b"):
        assert isinstance(run.plan(4), Manifest)
    tokens = run.manifests[-1].mix.tokens
    assert abs(tokens["a"] - tokens["b"]) < 100


def test_by_time_takes_the_oldest_text_of_all_sources_first():
    rng = np.random.default_rng(4)
    rows = window_rows(0, {"a": 50, "b": 50}, rng)
    times = np.sort(rows["event_time"].cast(pa.int64()).to_numpy()[:50])
    stamps = pa.array(np.concatenate([times, times + 1])).cast(pa.timestamp("us", tz="UTC"))
    rows = rows.set_column(rows.column_names.index("event_time"), "event_time", stamps)
    run = MixedRun([rows], RoundConfig(tokens=500, replay_share=0.0), MixtureConfig(shares="by_time"))
    run.plan_all()
    at = dict(zip(places(Documents.from_table(rows)), stamps.cast(pa.int64()).to_pylist(), strict=True))
    newest = [max(at[p] for p in places(m.fresh)) for m in run.manifests]
    oldest = [min(at[p] for p in places(m.fresh)) for m in run.manifests]
    assert all(before < after for before, after in zip(newest, oldest[1:], strict=False))


def test_a_paused_source_waits_and_a_removed_one_is_shed():
    rng = np.random.default_rng(5)
    run = MixedRun([window_rows(0, {"a": 60, "b": 60}, rng)], RoundConfig(tokens=300), MixtureConfig(paused=("a",)))
    assert isinstance(run.plan_all()[-1], Manifest)
    assert isinstance(run.plan(1, drained=True), NothingLeft)
    labels = dict(zip(places(Documents.from_table(run.log)), run.log["source"].to_pylist(), strict=True))
    assert {labels[p] for p in done_of(run.manifests)} == {"b"} and len(done_of(run.manifests)) == 60
    run.change(MixtureConfig())
    run.plan_all()
    assert len(done_of(run.manifests)) == 120
    removing = MixedRun(run.windows, RoundConfig(tokens=300), MixtureConfig(removed=("a",)))
    removing.plan_all()
    assert len([p for m in removing.manifests for p in places(m.shed)]) == 60
