"""Does the forecast tell when a source ends, as the rounds then have it?"""

import numpy as np
import pytest

from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.forecast import forecast
from data_ops.rounds.config import RoundConfig
from tests.data_ops.mixing.mixed_logs import MixedRun, window_rows

pytestmark = pytest.mark.slow

MIXTURES = [
    MixtureConfig(shares={"a": 3, "b": 1}),
    MixtureConfig(shares={"a": 1, "b": 9}),
    MixtureConfig(schedule=({"at": 0, "shares": {"a": 1}}, {"at": 20_000, "shares": {"a": 1, "b": 1}})),
]


@pytest.mark.parametrize("mixture", MIXTURES, ids=["more of the large", "more of the small", "schedule"])
def test_a_source_ends_where_the_forecast_said(mixture):
    run = MixedRun(
        [window_rows(0, {"a": 1500, "b": 500}, np.random.default_rng(8))],
        RoundConfig(tokens=600, replay_share=0.0),
        mixture,
    )
    sources, lengths = run.log["source"].to_pylist(), run.log["num_tokens"].to_numpy() + 1
    waiting = {label: int(lengths[[s == label for s in sources]].sum()) for label in ("a", "b")}
    told = forecast(mixture, waiting, 0, 0.0)
    ends = {}
    for m in run.plan_all():
        ends |= dict.fromkeys(m.mix.tokens, m.mix.trained)
    for label, end in ends.items():
        assert told[label].until == pytest.approx(end, abs=1500, rel=0.03)


def test_a_source_that_is_not_trained_has_no_end():
    told = forecast(MixtureConfig(paused=("b",), removed=("c",)), {"a": 100, "b": 100, "c": 100}, 50, 0.0)
    assert (told["a"].until, told["b"].until, told["c"].until) == (150, None, None)
