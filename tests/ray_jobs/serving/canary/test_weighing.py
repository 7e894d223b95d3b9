"""Is a new checkpoint shown worse only where it is, whenever and however often it is looked at?"""

import numpy as np
import pytest

from ray_jobs.serving.canary.weighing import Shown, Sides, Thumbs, compare_sides, look_is_due, sentence_of

ALPHA = 0.05


def sides(new: float, old: float, count: int, share: float = 0.1) -> Sides:
    """Shares of thumbs down of so many units, a share of which the new checkpoint answered."""
    n, m = round(count * share), round(count * (1 - share))
    return Sides(Thumbs(n - round(n * new), round(n * new)), Thumbs(m - round(m * old), round(m * old)))


def test_what_is_much_worse_is_shown_early_and_what_is_equal_is_not() -> None:
    assert compare_sides(sides(0.9, 0.2, 500), 1, ALPHA, 0.05).shown == Shown.WORSE
    assert compare_sides(sides(0.2, 0.2, 500), 1, ALPHA, 0.05).shown == Shown.UNCLEAR
    assert compare_sides(sides(0.2, 0.2, 200_000), 1, ALPHA, 0.05).shown == Shown.WITHIN
    assert compare_sides(sides(0.1, 0.2, 20_000), 1, ALPHA, 0.05).shown == Shown.WITHIN, "better is within too"


def test_worse_by_less_than_the_margin_is_never_shown_worse() -> None:
    shown = {compare_sides(sides(0.24, 0.2, count), 1, ALPHA, 0.05).shown for count in (400, 4000, 400_000)}
    assert Shown.WORSE not in shown


@pytest.mark.parametrize("new", [0.0, 1.0])
def test_bounds_hold_the_truth_where_all_said_the_same(new: float) -> None:
    weighed = compare_sides(sides(new, 0.5, 1000), 1, ALPHA, 0.05)
    assert weighed.low < new - 0.5 < weighed.high and weighed.low > -1.2 and weighed.high < 1.2


def test_a_later_look_is_harder_to_convince() -> None:
    lows = [compare_sides(sides(0.5, 0.2, 500), look, ALPHA, 0.05).low for look in (1, 3, 10)]
    assert lows == sorted(lows, reverse=True) and lows[0] > lows[-1]


def test_counts_alone_say_when_to_look() -> None:
    few, enough = sides(0.5, 0.5, 300), sides(0.5, 0.5, 400)
    assert not look_is_due(few, 1, None, ALPHA) and look_is_due(enough, 1, None, ALPHA), "32 on the smaller side"
    assert not look_is_due(enough, 2, enough, ALPHA), "nothing new"
    assert (
        look_is_due(sides(0.1, 0.9, 800), 2, enough, ALPHA)
        == look_is_due(sides(0.9, 0.1, 800), 2, enough, ALPHA)
        is True
    )


def test_the_reason_has_the_figures() -> None:
    seen = sides(0.9, 0.2, 500)
    said = sentence_of(compare_sides(seen, 1, ALPHA, 0.05), seen, 1, 0.05)
    assert said.startswith("people rate it worse: 90.0% thumbs down of 50 against 20.0% of 450, +")
    assert said.endswith("more, margin 5.0% (look 1, level 0.024)")


@pytest.mark.slow
def test_a_checkpoint_at_the_margin_is_rolled_back_in_fewer_than_one_canary_in_twenty() -> None:
    generator, rolled_back, series = np.random.default_rng(3), 0, 150
    for _ in range(series):
        is_new = generator.random(4000) < 0.1
        is_down = generator.random(4000) < np.where(is_new, 0.25, 0.2)
        last, look = None, 1
        for count in range(200, 4001, 100):
            part = [is_down[:count][is_new[:count] == side] for side in (True, False)]
            seen = Sides(*(Thumbs(int((~one).sum()), int(one.sum())) for one in part))
            if not look_is_due(seen, look, last, ALPHA):
                continue
            if compare_sides(seen, look, ALPHA, 0.05).shown == Shown.WORSE:
                rolled_back += 1
                break
            last, look = seen, look + 1
    assert rolled_back <= 0.05 * series
