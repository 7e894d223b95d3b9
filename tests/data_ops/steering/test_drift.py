"""Is a change of a source's text seen, seldom said in vain, and the same however the windows are looked at?"""

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.kernels.arrays import array_to_ids
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.draw import ties_of
from data_ops.steering.drift import BETS, CELLS, FIGURES, LOG_PAYS, WINDOWS, Watch, watch_windows
from tests.data_ops.mixing.mixed_logs import MixedRun, window_rows


def window_of(number, rng, sources=("a",), size=100, strange=0.0, tokens=(180, 20), bytes_a_token=4.0):
    """Documents of about 180 tokens of 4 bytes; a share of strange ones has twice the tokens for them. Many ties."""
    parts = []
    for source in sources:
        num_tokens = np.maximum(rng.normal(*tokens, size).astype(np.int64), 1)
        num_bytes = (num_tokens * (bytes_a_token + rng.normal(0, 0.3, size))).astype(np.int64)
        num_tokens = np.where(rng.random(size) < strange, 2 * num_tokens, num_tokens)
        parts.append(
            pa.table(
                {
                    "id": array_to_ids(rng.integers(0, 2**64, (size, 2), dtype=np.uint64)),
                    "source": pa.array([source] * size),
                    "window": np.full(size, number),
                    "num_tokens": num_tokens,
                    "num_bytes": num_bytes,
                }
            )
        )
    return pa.concat_tables(parts)


def watched(windows, seed=7):
    state, alarms = Watch(), []
    for number, rows in enumerate(windows):
        state = watch_windows(state, rows, number, ties_of(seed))
        alarms += state.alarms
    return state, alarms


def test_no_bet_wins_on_average_where_ranks_are_uniform():
    np.testing.assert_allclose(np.exp(LOG_PAYS).mean(axis=1), 1.0, rtol=1e-12)
    assert LOG_PAYS.shape == (len(BETS), CELLS)


def test_a_tenth_of_strange_documents_is_seen_within_two_thousand_and_named():
    rng = np.random.default_rng(1)
    windows = [window_of(n, rng, strange=0.1 if n >= 60 else 0.0) for n in range(80)]
    state, alarms = watched(windows)
    assert len(alarms) == 1 and 60 <= alarms[0].window < 80
    assert (alarms[0].source, alarms[0].figure, alarms[0].low) == ("a", "bytes a token", 0.0)
    assert "among what was the lowest" in alarms[0].words and "bytes a token" in alarms[0].words
    assert state.raised == 1


@pytest.mark.slow
def test_a_source_that_stays_as_it_is_raises_no_alarm_in_two_thousand_windows():
    rng = np.random.default_rng(2)
    state, alarms = watched(window_of(n, rng, ("a", "b"), size=40, tokens=(6, 2)) for n in range(2000))
    assert alarms == []
    assert all(one.level < WINDOWS / 10 for one in state.sources.values())


@pytest.mark.slow
def test_another_source_beside_it_that_changes_is_not_taken_for_it():
    rng = np.random.default_rng(3)
    windows = []
    for n in range(60):
        b = window_of(n, rng, ("b",), bytes_a_token=2.0 if n >= 40 else 4.0)
        windows.append(pa.concat_tables([window_of(n, rng), b]))
    assert {one.source for one in watched(windows)[1]} == {"b"}


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), max_size=6), st.integers(0, 2**32))
def test_it_does_not_matter_how_many_windows_are_looked_at_together(stops, seed):
    rng = np.random.default_rng(seed)
    windows = [window_of(n, rng, ("a", "b"), size=30, strange=float(n > 6)) for n in range(12)]
    log, alarms, state = pa.concat_tables(windows), [], Watch()
    for stop in [*sorted(set(stops)), 11]:
        state = Watch.read(json.loads(json.dumps(asdict(watch_windows(state, log, stop, ties_of(7))))))
        alarms += state.alarms
    single, one_by_one = watched(windows)
    assert alarms == one_by_one
    for label in ("a", "b"):
        assert state.sources[label].counts == single.sources[label].counts
        assert state.sources[label].evidence == single.sources[label].evidence


def test_how_far_the_last_documents_are_from_those_before_is_told_by_two_figures():
    rng = np.random.default_rng(4)
    calm, _ = watched([window_of(n, rng, size=400) for n in range(8)])
    state, _ = watched([window_of(n, rng, size=400, strange=0.1 * (n == 7)) for n in range(8)])
    assert calm.psi["a"] < 0.05 < state.psi["a"]
    for figure in FIGURES:
        assert 0 <= state.sources["a"].jsd[figure] <= 1


@pytest.mark.slow
def test_watching_changes_no_round_and_is_recorded_in_each():
    rng = np.random.default_rng(6)
    windows = [window_rows(n, {"a": 60, "b": 60}, rng) for n in range(6)]
    shares, config = {"a": 1, "b": 2}, RoundConfig(tokens=900, replay_share=0.3)
    plain = MixedRun(windows, config, MixtureConfig(shares=shares))
    looking = MixedRun(windows, config, MixtureConfig(shares=shares, drift="log"))
    for one, other in zip(plain.plan_all(), looking.plan_all(), strict=True):
        assert [one.to_row()[k] for k in ("fresh", "replay")] == [other.to_row()[k] for k in ("fresh", "replay")]
        assert other.mix.watch.window == other.mix.window and "watch" not in one.to_row()["plan"]
    again = MixedRun(windows, config, looking.mixture, manifests=looking.manifests[:3])
    assert [m.to_row() for m in again.plan_all()] == [m.to_row() for m in looking.manifests]
