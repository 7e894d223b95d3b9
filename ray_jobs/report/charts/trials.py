"""How do many trials look at once: settings against score, batch against rate?

Parallel coordinates (one line a trial, bright is good) and a heat map of the best score at each batch and rate.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.readable import rate, short
from ray_jobs.report.charts.svg import Html, Scale, joined, path, picture, tag, ticks, viridis, words

Row = Mapping[str, Any]  # name of an axis -> value


def parallel(rows: Sequence[Row], axes: Sequence[str], logs: set[str], *, label: str) -> Html:
    """Draw every row (best first) as a line over the axes; the last axis is the score, best at the top."""
    width, top, floor = 1080.0, 40.0, 250.0
    left, right = 70.0, width - 70.0
    places = [left + (right - left) * i / max(len(axes) - 1, 1) for i in range(len(axes))]
    ends = [(floor, top)] * (len(axes) - 1) + [(top, floor)]
    scales = [_Axis([row[name] for row in rows], name in logs, *end) for name, end in zip(axes, ends, strict=True)]
    drawn: list[Html] = []
    for i in reversed(range(len(rows))):
        line = [(x, scale.place(rows[i][name])) for x, name, scale in zip(places, axes, scales, strict=True)]
        tip = ", ".join(f"{name} {written(rows[i][name])}" for name in axes)
        share = 1 - i / max(len(rows) - 1, 1)
        drawn.append(_stroke(line, viridis(0.05 + 0.85 * share), 3.0 if i == 0 else 1.4, tip))
    for x, name, scale in zip(places, axes, scales, strict=True):
        drawn.append(path([(x, floor), (x, top)], "axis"))
        drawn.append(words(x, top - 18, name, "bold", "middle"))
        for value, y in scale.marks:
            beside = x - 8 if x > left else x + 8  # no line comes from the left of the first axis
            drawn.append(words(beside, y - 5, value, "small halo", "end" if x > left else None))
    return picture(width, floor + 16, label, *drawn, wide=True)


class _Axis:
    """Where values of one axis lie: numbers on a scale, else one place each."""

    def __init__(self, values: Sequence[object], is_log: bool, low_y: float, high_y: float) -> None:
        self.names: list[str] = []
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(values):
            self.names = sorted({str(v) for v in values})
            self.scale = Scale(0, max(len(self.names) - 1, 1), low_y, high_y)
            self.marks = [(name, self.scale(i)) for i, name in enumerate(self.names)]
            return
        self.is_log = is_log and min(numbers) > 0
        self.scale = Scale(self._number(min(numbers)), self._number(max(numbers)), low_y, high_y)
        few = sorted(set(numbers))
        shown = few if len(few) <= 6 else [few[0], few[-1]] if self.is_log else ticks(few[0], few[-1], 4)
        self.marks = [(written(v), self.scale(self._number(v))) for v in shown]

    def place(self, value: Any) -> float:
        return self.scale(self.names.index(str(value)) if self.names else self._number(value))

    def _number(self, value: float) -> float:
        return math.log(value) if self.is_log else float(value)


def batch_and_rate(
    cells: Mapping[tuple[int, float], float], stopped: Mapping[tuple[int, float], int], *, label: str
) -> Html:
    """Draw the best score at each (batch tokens, learning rate): bright is good, distances are logarithmic.

    stopped: the tokens of those that got less far, whose score would not compare.
    """
    places = [*cells, *stopped]
    batches, rates = sorted({b for b, _ in places}), sorted({r for _, r in places})
    best, worst = min(cells.values()), max(cells.values())
    left, top, tall = 90.0, 44.0, 34.0
    cell = min(120.0, (1080.0 - left) / len(rates))
    drawn = [words(left, 12, "learning rate", "bold"), words(left - 8, top - 8, "batch", "bold", "end")]
    drawn += [words(left + (j + 0.5) * cell, top - 6, rate(r), "soft small", "middle") for j, r in enumerate(rates)]
    for i, batch in enumerate(batches):
        y = top + i * tall
        drawn.append(words(left - 8, y + tall / 2 + 4, f"{short(batch)}", "soft small", "end"))
        for j, lr in enumerate(rates):
            if (batch, lr) not in cells and (tokens := stopped.get((batch, lr))) is not None:
                middle = (left + (j + 0.5) * cell, y + tall / 2 + 4)
                drawn.append(words(*middle, f"stopped at {short(tokens)}", "soft small", "middle"))
            if (value := cells.get((batch, lr))) is not None:
                share = math.log1p((value - best) / 0.01) / math.log1p((worst - best) / 0.01) if worst > best else 0.0
                drawn.append(_cell(value, share, (left + j * cell, y, cell, tall), f"batch {batch:,}, rate {rate(lr)}"))
    return picture(1080.0, top + tall * len(batches) + 10, label, *drawn, wide=True)


def _cell(value: float, share: float, box: tuple[float, float, float, float], where: str) -> Html:
    x, y, width, height = box
    tip = tag("title", f"{where}: {value:.4f} bits/byte")
    ink = "#10151a" if share < 0.62 else "#ffffff"
    square = tag("rect", tip, x=x, y=y, width=width, height=height, fill=viridis(1 - share), class_="cell")
    middle = (x + width / 2, y + height / 2 + 4)
    return joined([square, words(*middle, f"{value:.3f}", "small", "middle", style=f"fill:{ink};pointer-events:none")])


def _stroke(places: Sequence[tuple[float, float]], colour: str, width: float, tip: str) -> Html:
    drawn = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return tag("path", tag("title", tip), d=drawn, style=f"fill:none;stroke:{colour};stroke-width:{width};opacity:.85")


def written(value: object) -> str:
    """A setting's value for people."""
    if isinstance(value, float) and value < 0.1:
        return rate(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return short(value) if isinstance(value, float) else str(value)
