"""Is a change of a rate found where there is one, and seldom where there is none?"""

import numpy as np
import pyarrow as pa
import pytest

from data_ops.survey.drift import latest_change, rates


def test_a_share_that_trebles_in_the_latest_quarter_is_a_change_and_the_figures_are_those_of_the_blocks() -> None:
    change = latest_change([10, 12, 9, 11, 10, 8, 30, 33, 27], [100] * 9)
    assert change is not None and change.is_change and change.blocks == 3
    assert change.latest == pytest.approx(90 / 300) and change.before == pytest.approx(60 / 600)
    assert change.low < 0.2 < change.high


def test_too_few_blocks_are_not_compared() -> None:
    assert latest_change([1] * 5, [9] * 5) is None
    assert latest_change([1] * 6, [9] * 6) is not None


def test_nothing_ten_times_and_then_one_of_hundreds_is_no_certainty() -> None:
    change = latest_change([0] * 9 + [1, 1, 1], [100] * 12)
    assert change is not None and not change.is_change


@pytest.mark.parametrize("spread", [0.0, 0.04])
def test_a_steady_rate_is_seldom_called_a_change_also_where_windows_differ_from_each_other(spread: float) -> None:
    random, marked = np.random.default_rng(3), 0
    for _ in range(600):
        read = random.integers(150, 250, 32)
        share = np.clip(random.normal(0.1, spread, 32), 0, 1)  # documents of one window resemble each other
        change = latest_change(random.binomial(read, share), read)
        assert change is not None
        marked += change.is_change
    assert marked / 600 < 0.08


def test_a_block_in_which_a_source_has_nothing_has_no_share_and_is_not_compared() -> None:
    rows = [("web", b, "dropped" if n < 2 else "pending", "c4" if n < 2 else None) for b in (0, 2, 3) for n in range(4)]
    names = ["source", "block", "outcome", "reason"]
    columns = {name: list(c) for name, c in zip(names, zip(*rows, strict=True), strict=True)}
    (rate,) = rates(pa.table({**columns, "records": [1] * len(rows)}), 4)
    assert (rate.source, rate.reason, rate.fate, rate.change) == ("web", "c4", "dropped", None)
    assert rate.shares[0] == 0.5 and np.isnan(rate.shares[1])
