"""Does a value wait for the lag and for every transaction that wrote when it was seen?"""

from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.sql.sightings import KEPT, KeySighting, Sightings


def test_a_value_is_read_once_the_lag_and_the_transactions_of_then_are_over():
    looks = Sightings(10.0)
    assert looks.bound(KeySighting(0.0, "100", 7), horizon=5) is None
    assert looks.bound(KeySighting(9.9, "200", 9), horizon=9) is None
    assert looks.bound(KeySighting(10.0, "200", 9), horizon=6) is None, "transaction 6 may still write below 100"
    assert looks.bound(KeySighting(10.1, "200", 9), horizon=7) == "100"
    assert looks.bound(KeySighting(20.0, "300", 9), horizon=9) == "200"
    assert looks.bound(KeySighting(60.0, "300", 9), horizon=9) == "300", "seen again is no reason to wait again"


def test_an_empty_table_has_nothing_to_wait_for():
    assert Sightings(1.0).bound(None, 3) is None


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 3), st.integers(1, 20)), min_size=1, max_size=60))
def test_no_row_of_a_transaction_within_the_lag_comes_below_what_was_read(steps):
    """Transactions take a value when they begin, show it when they end, and take at most the lag."""
    looks, now, value, bound = Sightings(10.0), 0.0, 0, 0
    open_until: list[tuple[float, int]] = []
    shown: list[int] = []
    for pause, begun, takes in steps:
        now += pause
        for until, row in [each for each in open_until if each[0] <= now]:
            assert row > bound, "it was passed by"
            shown.append(row)
            open_until.remove((until, row))
        sighting = KeySighting(now, str(max(shown)), 1) if shown else None
        bound = max(bound, int(looks.bound(sighting, 1) or 0))
        for _ in range(begun):
            value += 1
            open_until.append((now + min(takes, 9.99), value))


def test_what_is_kept_of_many_looks_is_bounded():
    looks = Sightings(10.0)
    for number in range(10_000):
        looks.bound(KeySighting(number / 100, str(number), 1), 1)
    assert len(looks._seen) <= KEPT + 2
