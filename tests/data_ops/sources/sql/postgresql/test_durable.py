"""Is a horizon used only once no crash of the server can undo what lies below it?"""

from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.sql.postgresql.durable import DurableHorizon, HorizonSighting


def test_a_horizon_counts_once_the_log_of_then_is_on_disk_or_must_be():
    looks = DurableHorizon()
    assert looks.take(HorizonSighting(0.0, 100, 5_000), flushed=4_999, patience_s=0.6) == 0
    assert looks.take(HorizonSighting(0.1, 200, 6_000), flushed=5_000, patience_s=0.6) == 100
    assert looks.take(HorizonSighting(0.2, 200, 7_000), flushed=5_999, patience_s=0.6) == 100
    assert looks.take(HorizonSighting(0.69, 300, 8_000), flushed=5_999, patience_s=0.6) == 100
    assert looks.take(HorizonSighting(0.7, 300, 8_000), flushed=5_999, patience_s=0.6) == 200, "its time is over"
    assert looks.take(HorizonSighting(0.8, 400, 9_000), flushed=9_000, patience_s=0.6) == 400, "nothing is in flight"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40))
def test_it_never_goes_back_nor_beyond_what_a_crash_leaves(steps: list[tuple[int, int, int]]):
    """Transactions end and write to the log; it is flushed behind; nobody waits so long that all must be on disk."""
    looks, horizon, end, flushed, last = DurableHorizon(), 3, 0, 0, 0
    ends: dict[int, int] = {}  # of the log, when the horizon was first this one
    for begun, written, on_disk in steps:
        horizon, end = horizon + begun, end + written
        flushed = min(end, flushed + on_disk)
        ends.setdefault(horizon, end)
        durable = looks.take(HorizonSighting(0.0, horizon, end), flushed, patience_s=1.0)
        assert last <= durable <= horizon and (durable == 0 or ends[durable] <= flushed)
        last = durable
    assert looks.take(HorizonSighting(0.0, horizon, end), end, patience_s=1.0) == horizon
