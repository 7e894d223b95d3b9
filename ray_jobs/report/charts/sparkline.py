"""How did a share go over time, in the space of a word?"""

from collections.abc import Sequence

from cluster.readable import share
from ray_jobs.report.charts.svg import Html, Scale, joined, path, tag

WIDTH, HEIGHT = 140.0, 30.0


def sparkline(shares: Sequence[float | None], latest: int) -> Html:
    """Draw shares from 0 to the highest, with a gap of None left out; the last `latest` known ones lie on a band."""
    known = [(place, value) for place, value in enumerate(shares) if value is not None]
    top = max((value for _, value in known), default=0.0)
    x, y = Scale(0, max(len(shares) - 1, 1), 3, WIDTH - 3), Scale(0, top or 1.0, HEIGHT - 3, 4)
    band = None
    if latest:
        begin, end = x(known[-latest][0]) - 2, x(known[-1][0]) + 2
        band = tag("rect", x=begin, y=0.0, width=end - begin, height=HEIGHT, class_="wash")
    line = path([(x(place), y(value)) for place, value in known], "spark l-ink") if len(known) > 1 else None
    low = min((value for _, value in known), default=0.0)
    tip = tag("title", f"between {share(low)} and {share(top)} of a block of windows")
    return tag(
        "svg", tip, joined([band, line]), viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", role="img", class_="sparkline"
    )
