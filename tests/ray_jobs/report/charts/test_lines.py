"""Do the pictures show what the numbers say: spikes, order, and the best in the brightest colour?"""

import math
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_jobs.report.charts import comparisons, heatmap, svg
from ray_jobs.report.charts import lines as charts


def test_thinning_keeps_every_spike():
    xs, ys = list(range(100_000)), [0.0] * 100_000
    ys[54_321] = 9.0
    kept = svg.thin(xs, ys, 500)
    assert len(kept) <= 1002 and (54_321, 9.0) in kept and kept[0] == (0, 0.0) and kept == sorted(kept)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 200), max_size=12))
def test_labels_are_spread_without_touching_and_keep_their_order(places):
    moved = svg.spread(places, 12, 0, 200)
    order = sorted(range(len(places)), key=lambda i: places[i])
    gaps = [moved[b] - moved[a] for a, b in pairwise(order)]
    assert all(gap >= 12 - 1e-9 for gap in gaps)


@settings(max_examples=100)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_few_and_inside(low, span, count):
    found = svg.ticks(low, low + span, count)
    assert len(found) <= count + 2
    slack = span * 1e-6 + 2 * math.ulp(abs(low) + span)  # a span of 1e-6 at 1e6 is but a few thousand floats
    assert all(low - slack <= v <= low + span + slack for v in found)


def test_the_heat_map_is_brightest_where_a_slice_was_best():
    drawn = heatmap.heat_map(["a", "b"], ["wire/1", "wire/2"], [[1.0, 3.0], [1.5, None]], label="x", unit="bits/byte")
    fills = re.findall(r'fill="(#\w+)" class="cell"', drawn)
    assert fills == [svg.viridis(1), svg.viridis(1), svg.viridis(0)]
    assert "a on wire/1: 1.000 bits/byte" in drawn


def test_one_point_is_a_dot_and_not_an_empty_line():
    drawn = charts.lines([charts.Curve([(3.0, 1.0)], "blue", "x")], str, charts.Frame(), label="x")
    assert "<circle" in drawn


def test_a_slice_beyond_the_axis_becomes_an_arrow_and_keeps_its_figures():
    old = {
        "name": "a/1",
        "role": "old",
        "documents": 9,
        "difference": 0.0,
        "low": -0.001,
        "high": 0.001,
        "verdict": "within",
    }
    far = {**old, "name": "b/1", "role": "fresh", "difference": -0.5, "low": -0.6, "high": -0.4, "verdict": "better"}
    drawn = comparisons.forest([far, old], 0.005, label="x")
    assert drawn.count("<circle") == 1 and "−0.5000 [−0.6000, −0.4000]" in drawn
