"""Is no document replayed more often than its source allows, whatever the sample, growth, and changes of the limit?"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest
from data_ops.steering.repeats import TURN, Limited, Repeats
from tests.data_ops.mixing.mixed_logs import LABELS, MixedRun, logs, places, window_rows

limits = st.one_of(
    st.integers(0, 4), st.dictionaries(st.sampled_from(LABELS), st.integers(0, 4), min_size=1), st.none()
)
configs = st.builds(
    RoundConfig,
    tokens=st.integers(60, 800),
    replay_share=st.sampled_from([0.25, 0.6, 0.9]),
    starved=st.sampled_from(["stop", "replay"]),
)


def mixture(limit):
    return MixtureConfig(shares={"a": 1, "b": 2, "c": 1}, max_repeats=limit)


def plan_on(run, windows, looks):
    """Plan up to so many rounds more, of replay alone where nothing is fresh."""
    for _ in range(looks):
        if not isinstance(run.plan(windows, drained=False, late=True), Manifest):
            return


def repeats_of(manifests):
    return Counter(p for m in manifests for p in places(m.replay))


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(logs(), configs, st.lists(limits.filter(lambda one: one is not None), min_size=1, max_size=3), st.data())
def test_no_document_is_replayed_more_often_than_the_highest_limit_of_its_source(windows, config, stated, data):
    """While windows come in, the limit changes, and rounds of replay alone follow each other."""
    run, known = MixedRun(windows, config, mixture(stated[0])), 0
    for limit in stated:
        run.change(mixture(limit))
        known = data.draw(st.integers(known, len(windows)))
        plan_on(run, known, data.draw(st.integers(0, 25)))
    sources = dict(zip(places(Documents.from_table(run.log)), run.log["source"].to_pylist(), strict=True))
    for place, count in repeats_of(run.manifests).items():
        mine = [one.get(sources[place]) if isinstance(one, dict) else one for one in stated]
        if None not in mine:
            assert count <= max(mine)
    for m in run.manifests:
        assert len(set(places(m.replay))) == len(m.replay), "once a round at most"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3, 8])
def test_replay_alone_uses_up_what_is_allowed_and_then_waits(limit):
    windows = [window_rows(n, {"a": 12, "b": 6}, np.random.default_rng(limit + n)) for n in range(3)]
    run = MixedRun(windows, RoundConfig(tokens=500, replay_share=0.5, starved="replay"), mixture({"a": limit, "b": 1}))
    plan_on(run, 3, 400)
    assert run.plan(3, late=True) is None, "nothing is fresh and nothing may be replayed: the run waits"
    sources = dict(zip(places(Documents.from_table(run.log)), run.log["source"].to_pylist(), strict=True))
    counts = repeats_of(run.manifests)
    for place, source in sources.items():
        most = limit if source == "a" else 1
        assert most - 1 <= counts[place] <= most
    repeats = run.manifests[-1].mix.repeats
    used = sum(counts[p] for p in sources) / sum(limit if s == "a" else 1 for s in sources.values())
    assert used > 0.9 and sum(repeats.left.values()) == 0
    assert sum(len(known.entered) for known in repeats.known.values()) <= 2 * (8 * limit + 1)


def test_windows_that_are_counted_together_stay_within_the_limit():
    """A window comes to be replayed at every step of the hand, which is a fiftieth of a turn."""
    rng, n, limit = np.random.default_rng(5), 400, 2
    windows, places_, counts = np.arange(n), rng.integers(0, TURN, n), np.zeros(n, np.int64)
    before, sources, ones = Repeats(), np.full(n, "a", object), np.ones(n, np.int64)
    for number in range(n):
        limited = Limited(before, {"a": limit}, sources, windows, places_, ones, Frontier.through(number))
        there = limited.open() & (windows <= number) & (limited.next_at < before.hand + TURN // 50)
        counts += there
        before = limited.behind(before.hand + TURN // 50, np.flatnonzero(there))
    assert counts.max() == limit and counts[: n // 2].mean() > 0.9 * limit
    assert counts[: n // 2].min() >= limit - 1


@pytest.mark.slow
def test_a_raised_limit_allows_the_difference_and_no_more():
    windows = [window_rows(0, {"a": 20}, np.random.default_rng(3))]
    run = MixedRun(windows, RoundConfig(tokens=300, replay_share=0.5, starved="replay"), mixture(1))
    plan_on(run, 1, 100)
    assert set(repeats_of(run.manifests).values()) == {1}
    run.change(mixture(3))
    plan_on(run, 1, 100)
    assert set(repeats_of(run.manifests).values()) == {3}
    assert len(repeats_of(run.manifests)) == 20


@pytest.mark.slow
def test_nobody_is_replayed_again_before_everybody_was_passed():
    windows = [window_rows(n, {"a": 40, "b": 20}, np.random.default_rng(n)) for n in range(2)]
    run = MixedRun(windows, RoundConfig(tokens=400, replay_share=0.5, starved="replay"), mixture(50))
    seen = Counter()
    for number in range(60):
        assert isinstance(run.plan(2, late=True), Manifest)
        if number >= 30:
            seen.update(places(run.manifests[-1].replay))
            counts = [*seen.values(), *([0] * (120 - len(seen)))]
            assert max(counts) - min(counts) <= 1
    assert min(counts) >= 2


@pytest.mark.slow
def test_a_plan_goes_on_from_what_is_recorded_and_a_round_without_limits_says_nothing_of_them():
    windows = [window_rows(n, {"a": 12, "b": 6}, np.random.default_rng(n)) for n in range(5)]
    config = RoundConfig(tokens=300, replay_share=0.5)
    run = MixedRun(windows, config, mixture({"a": 2}))
    run.plan_all()
    for cut in range(1, len(run.manifests)):
        again = MixedRun(windows, config, mixture({"a": 2}), manifests=run.manifests[:cut])
        assert [m.to_row() for m in again.plan_all()] == [m.to_row() for m in run.manifests]
    plain = MixedRun(windows, config, mixture(None))
    assert all("repeats" not in m.to_row()["plan"] for m in plain.plan_all())


@pytest.mark.slow
def test_what_is_kept_does_not_grow_with_the_windows():
    before, none, rng = Repeats(), np.zeros(0, np.int64), np.random.default_rng(0)
    for number in range(10_000):
        limited = Limited(before, {"a": 4}, np.zeros(0, object), none, none, none, Frontier.through(number))
        before = Repeats(before.hand + int(rng.integers(0, TURN // 50)), limited.known())
    assert len(before.known["a"].entered) <= 8 * 4 + 2
