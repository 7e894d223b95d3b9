"""Does a reader that ends by itself wait for what was open when it began, and for nothing else?"""

from data_ops.sources.sql.holding import STALLED_S, Hold, Holding
from tests.support.sql.reading import Clock


def test_rows_are_waited_for_until_all_transactions_of_the_first_look_have_ended():
    holding, waits, goes = Holding(Clock()), Hold(True, None), Hold(False, None)
    assert holding.take(5, 9, holds=False) == goes, "an open transaction that holds nothing back"
    assert holding.take(5, 12, holds=True) == waits
    assert holding.take(8, 15, holds=True) == waits
    assert holding.take(9, 20, holds=True) == goes, "only transactions that began since are open"


def test_one_that_stays_open_is_told_and_not_waited_for_and_the_next_one_has_its_own_time():
    clock = Clock()
    holding = Holding(clock)
    assert holding.take(5, 9, holds=True) == Hold(True, None)
    clock.now_s = STALLED_S + 1
    assert holding.take(5, 9, holds=True) == Hold(False, 5)
    assert holding.take(7, 9, holds=True) == Hold(True, None)
    clock.now_s = 2 * STALLED_S + 1
    assert holding.take(7, 9, holds=True) == Hold(True, None)
    assert holding.take(7, 9, holds=False) == Hold(False, None)
    clock.now_s = 2 * STALLED_S + 2
    assert holding.take(7, 9, holds=True) == Hold(True, None), "its rows are held back anew"


def test_rows_that_only_wait_for_a_lag_or_carry_numbers_to_come_are_no_stall():
    clock = Clock()
    holding = Holding(clock)
    for clock.now_s in (0.0, STALLED_S + 1):
        assert holding.take(9, 9, holds=True) == Hold(False, None)
