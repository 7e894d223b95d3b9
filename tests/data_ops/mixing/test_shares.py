"""Are the shares those that were stated, at every token of a schedule, and never below the floor?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.shares import shares_at, with_floor

SCHEDULE = MixtureConfig(schedule=({"at": "1k", "shares": {"a": 1}}, {"at": 3000, "shares": {"a": 1, "b": 3}}))


@pytest.mark.parametrize(("tokens", "b"), [(0, 0), (1000, 0), (2000, 0.375), (3000, 0.75), (10**9, 0.75)])
def test_between_two_stages_shares_move_in_a_straight_line(tokens, b):
    shares = shares_at(SCHEDULE, tokens)
    assert shares.get("b", 0) == pytest.approx(b) and sum(shares.values()) == pytest.approx(1)


@given(st.dictionaries(st.text("abcdef", min_size=1), st.floats(1e-6, 1e6), min_size=1), st.floats(0, 1))
def test_no_share_is_below_the_floor_and_all_add_up(wanted, floor):
    shares = with_floor(wanted, floor)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= min(floor, 1 / len(wanted)) * (1 - 1e-9)
    large = [label for label in wanted if shares[label] > 1.0001 * floor]
    for one in large:
        assert shares[one] / shares[large[0]] == pytest.approx(wanted[one] / wanted[large[0]]), "the rest keep theirs"


def test_where_no_shares_are_stated_there_are_none():
    assert shares_at(MixtureConfig(shares="by_time"), 0) is None
    assert shares_at(MixtureConfig(shares={"a": 1}, paused=("a",)), 0) == {}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"shares": {"a": 1}, "schedule": [{"at": 0, "shares": {"a": 1}}]}, "keep one of them"),
        ({"shares": {"a": 0}}, "add up to nothing"),
        ({"shares": {}}, "at least 1"),
        ({"shares": {"a": -1}}, "greater than or equal to 0"),
        ({"schedule": [{"at": 5, "shares": {"a": 1}}, {"at": 5, "shares": {"a": 1}}]}, "put them in order"),
        ({"paused": ["a"], "removed": ["a"]}, "paused and removed"),
        ({"shares": {"a": 1, "b": 1}, "floor": 0.6}, "more than there is"),
        ({"shares": "proportinal"}, "by_time"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused_in_a_sentence(said, why):
    with pytest.raises(ValidationError, match=why):
        MixtureConfig.model_validate(said)
