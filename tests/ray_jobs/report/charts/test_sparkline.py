"""Is a share drawn where it is known, and the latest blocks shaded?"""

import re

from ray_jobs.report.charts.sparkline import sparkline


def test_known_shares_are_joined_and_the_latest_lie_on_a_band() -> None:
    drawn = sparkline([0.0, None, 0.5, 1.0, None], 1)
    assert re.findall(r'd="([^"]*)"', drawn) == ["M3,27L70,15.5L103.5,4"]
    assert re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', drawn) == [("101.5", "4")]
    assert "between 0 % and 100 % of a block" in drawn


def test_nothing_to_compare_has_no_band_and_one_block_no_line() -> None:
    assert "<rect" not in sparkline([0.1, 0.2], 0)
    assert "<path" not in sparkline([0.1], 0) and "<path" not in sparkline([None, None], 0)
