"""Are settings of a feed checked, kept with the run, and taken up again?"""

import pytest

from cluster.storage.store import Store
from ray_jobs.library.feed_config import FeedConfig, settings_of
from ray_jobs.outcome import ConfigError

GIVEN = {"row_tokens": 128, "batch_tokens": 1024, "round": {"replay_share": "50%"}, "reservoir": {"half_life": "30d"}}


def test_settings_are_kept_with_the_run_and_need_not_be_given_again(tmp_path):
    store = Store.open(str(tmp_path))
    first = settings_of(store, "mine", GIVEN, keep=True)
    assert settings_of(store, "mine", None, keep=False) == first == FeedConfig.model_validate(GIVEN)
    changed = settings_of(store, "mine", {**GIVEN, "round": {"replay_share": 0.1}}, keep=True)
    assert settings_of(store, "mine", None, keep=False) == changed != first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"row_tokens": 128, "batch_tokens": 2048}, "batch_tokens=2048 differs from 1024, with which run mine was"),
        ({"row_token": 1}, "row_token is unknown; the settings of a feed are row_tokens, batch_tokens, round, reser"),
        ({"row_tokens": 100, "batch_tokens": 1024}, "batch_tokens=1024 is no multiple of row_tokens=100; use 1000"),
        ({"batch_tokens": 2**20}, "round.tokens=262144 is less than batch_tokens=1048576"),
        ({"round": {"replay_share": 2}}, "round.replay_share=2: Input should be less than"),
    ],
)
def test_a_mistake_is_told_with_the_value_and_what_to_do(tmp_path, given, said):
    store = Store.open(str(tmp_path))
    settings_of(store, "mine", GIVEN, keep=True)
    with pytest.raises(ConfigError, match=said):
        settings_of(store, "mine", given, keep=True)
