"""Which checkpoint knows which period best?

A heat map of checkpoints x slices, coloured by what each slice has lost against its own best, on a
logarithmic scale: so a little forgetting shows, and a slice that is hard for every model does not shout.
"""

import math
from collections.abc import Sequence
from itertools import groupby

from cluster.readable import signed
from ray_jobs.report.charts.svg import Html, joined, path, picture, tag, viridis, words

REGRET_UNIT = 0.01


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *, label: str, unit: str
) -> Html:
    """Draw bits per byte of each checkpoint (row) on each slice (column), best brightest. unit: their name."""
    width = 1080.0 if len(columns) > 10 else 540.0
    left = 12 + 6.4 * max(len(row) for row in rows)
    cell = min((width - left) / len(columns), 88.0)
    tall = min(max(300 / len(rows), 11), 30)
    best = [min((v for row in values if (v := row[j]) is not None), default=0.0) for j in range(len(columns))]
    worst = max((v - best[j] for row in values for j, v in enumerate(row) if v is not None), default=0.0)
    top = 46.0 if cell >= 46 else 72.0
    drawn = _column_names(columns, left, top, cell)
    for i, row in enumerate(values):
        y = top + i * tall
        if tall > 12 or i % 2 == 0:
            drawn.append(words(left - 8, y + tall / 2 + 4, rows[i], "soft small", "end"))
        for j, value in enumerate(row):
            if value is not None:
                drawn.append(
                    _cell(
                        value,
                        value - best[j],
                        worst,
                        (left + j * cell, y, cell, tall),
                        (f"{rows[i]} on {columns[j]}", unit),
                    )
                )
    end = top + tall * len(rows)
    return picture(width, end + 44, label, *drawn, *_key(worst, left, end + 14, unit), wide=width > 700)


def _cell(
    value: float, regret: float, worst: float, box: tuple[float, float, float, float], told: tuple[str, str]
) -> Html:
    x, y, width, height = box
    share = _regret_share(regret, worst)
    tip = tag("title", f"{told[0]}: {value:.3f} {told[1]}, {signed(regret, 4)} against its best")
    drawn: list[Html] = [tag("rect", tip, x=x, y=y, width=width, height=height, fill=viridis(1 - share), class_="cell")]
    if width >= 33 and height >= 13:
        ink = "#10151a" if share < 0.62 else "#ffffff"
        drawn.append(
            words(
                x + width / 2,
                y + height / 2 + 4,
                f"{value:.3f}"[:5],
                "small",
                "middle",
                style=f"fill:{ink};pointer-events:none",
            )
        )
    return joined(drawn)


def _regret_share(regret: float, worst: float) -> float:
    return math.log1p(max(regret, 0.0) / REGRET_UNIT) / math.log1p(worst / REGRET_UNIT) if worst > 0 else 0.0


def _column_names(columns: Sequence[str], left: float, top: float, cell: float) -> list[Html]:
    drawn, at = [], left
    for source, group in groupby(columns, key=lambda name: name.partition("/")[0]):
        names = list(group)
        room = int(cell * len(names) / 6.6)
        drawn.append(words(at + 2, 12, source if len(source) <= room else source[: max(room - 1, 1)] + "…", "bold"))
        drawn.append(path([(at + 2, 18), (at + cell * len(names) - 4, 18)], "axis"))
        for j, name in enumerate(names):
            x, period = at + (j + 0.5) * cell, name.partition("/")[2]
            if cell >= 46:
                drawn.append(words(x, top - 8, period, "soft small", "middle"))
            elif cell >= 10 or j % 2 == 0:
                drawn.append(
                    words(
                        x + 4,
                        top - 5,
                        period[-7:],
                        "soft small",
                        transform=f"rotate(-90 {x + 4:.1f} {top - 5:.1f})",
                    )
                )
        at += cell * len(names)
    return drawn


def _key(worst: float, left: float, y: float, unit: str) -> list[Html]:
    if worst <= 0:
        return []
    steps = [tag("rect", x=left + 4.0 * i, y=y, width=4.2, height=8.0, fill=viridis(1 - i / 44)) for i in range(45)]
    marks = [v for v in (0.0, 0.01, 0.1, 1.0) if not v or (v <= worst and _regret_share(v, worst) > 0.2)]
    names = [
        words(left + 178 * _regret_share(v, worst), y + 20, f"+{v:g}" if v else "best", "soft small", "middle")
        for v in marks
    ]
    said = unit.replace("/", " per ")
    return [*steps, *names, words(left + 192, y + 9, f"{said} above the slice's best", "soft small")]
