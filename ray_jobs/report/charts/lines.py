"""How do figures over steps look, and how are waiting times spread?

Lines with rounds as bands and names at their ends (no legend to look up), and a histogram on a logarithmic
axis. Points are thinned to the lowest and highest of each pixel, so a spike stays visible.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.readable import short
from ray_jobs.report.charts.svg import Html, Scale, path, picture, spread, tag, thin, ticks, words

Write = Callable[[float], str]


@dataclass(frozen=True)
class Curve:
    """One curve: points (x, y) without gaps, a colour of the style sheet (blue, s3), a name."""

    points: Sequence[tuple[float, float]]
    colour: str = "blue"
    name: str = ""
    look: str = "thick"


@dataclass(frozen=True)
class Band:
    """One round: the stretch of steps that it took."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Frame:
    """Where curves are drawn: size, stretches of x that are shaded, range of y (None: what the curves need)."""

    width: float = 540
    height: float = 230
    bands: Sequence[Band] = ()
    y_range: tuple[float, float] | None = None
    x_name: str = "step"


def lines(curves: Sequence[Curve], write: Write, frame: Frame, *, label: str) -> Html:
    """Draw curves over steps; `write` writes a value of the y axis."""
    xs = [x for curve in curves for x, _ in curve.points]
    low, high = frame.y_range or _padded([y for curve in curves for _, y in curve.points])
    left = 10 + 6.6 * max(len(write(v)) for v in [*ticks(low, high, 4), high])
    right = max([14.0] + [10 + 6.4 * len(curve.name) for curve in curves])
    x = Scale(min(xs), max(xs), left, frame.width - right)
    y = Scale(low, high, frame.height - 30, 20)
    drawn = [
        *_bands(frame.bands, x, y),
        *_y_axis(y, write, left, frame.width - right),
        *_x_axis(x, frame.height - 30, frame.x_name),
    ]
    inside = [
        _curve(curve, Scale(x.low, x.high, 0, x.end - x.start), Scale(low, high, y.start - 12, 8), write, label)
        for curve in curves
    ]
    clip = {"x": x.start, "y": 12.0, "width": x.end - x.start, "height": y.start - 12}
    drawn.append(tag("svg", *inside, class_="clip", **clip))
    return picture(frame.width, frame.height, label, *drawn, *_end_names(curves, x, y), wide=frame.width > 700)


def _curve(curve: Curve, x: Scale, y: Scale, write: Write, label: str) -> Html:
    kept = thin([p[0] for p in curve.points], [p[1] for p in curve.points], int(x.end))
    places = [(x(a), y(b)) for a, b in kept]
    tip = f"{curve.name or label}: {write(curve.points[-1][1])}"
    if len(places) > 1:
        return path(places, f"{curve.look} l-{curve.colour}", tip)
    return _dot(places[0], curve, tip)


def _dot(place: tuple[float, float], curve: Curve, tip: str) -> Html:
    return tag("circle", tag("title", tip), cx=place[0], cy=place[1], r=3.5, class_=f"f-{curve.colour}")


def _end_names(curves: Sequence[Curve], x: Scale, y: Scale) -> list[Html]:
    named = [curve for curve in curves if curve.name]
    places = spread([min(max(y(c.points[-1][1]), 8.0), y.start) for c in named], 12.5, 12, y.start + 2)
    return [
        words(x.end + 6, place + 4, curve.name, f"small f-{curve.colour}")
        for curve, place in zip(named, places, strict=True)
    ]


def _bands(bands: Sequence[Band], x: Scale, y: Scale) -> list[Html]:
    drawn = []
    for i, band in enumerate(bands if len(bands) <= 200 else ()):
        start, end = x(band.start), x(band.end)
        if i % 2 == 0:
            height = y.start - y.end + 6
            drawn.append(
                tag(
                    "rect",
                    tag("title", band.name),
                    x=start,
                    y=y.end - 6,
                    width=max(end - start, 0.1),
                    height=height,
                    class_="band",
                )
            )
        if end - start > 6.2 * len(band.name) + 4:
            drawn.append(words((start + end) / 2, y.end - 10, band.name, "soft small", "middle"))
        elif end - start > 22:
            drawn.append(words((start + end) / 2, y.end - 10, band.name.split()[-1], "soft small", "middle"))
    return drawn


def _y_axis(y: Scale, write: Write, left: float, right: float) -> list[Html]:
    drawn = []
    for value in ticks(y.low, y.high, 4):
        drawn.append(path([(left, y(value)), (right, y(value))], "grid"))
        drawn.append(words(left - 6, y(value) + 4, write(value), "soft small", "end"))
    return drawn


def _x_axis(x: Scale, floor: float, name: str) -> list[Html]:
    drawn = [path([(x.start, floor), (x.end, floor)], "axis")]
    found = [v for v in ticks(x.low, x.high, max(2, int((x.end - x.start) / 80))) if v == int(v)] or [x.low]
    for i, value in enumerate(found):
        drawn.append(path([(x(value), floor), (x(value), floor + 4)], "axis"))
        written = f"{name} {short(value)}" if i == len(found) - 1 else short(value)
        place, anchor = (x.end + 8, "end") if x(value) > x.end - 24 else (x(value), "middle")
        drawn.append(words(place, floor + 17, written, "soft small", anchor))
    return drawn


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad


def log_histogram(values: Sequence[float], write: Write, marks: Sequence[tuple[float, str]], *, label: str) -> Html:
    """Draw how many values fall where, over a logarithmic axis, with named marks such as percentiles."""
    floor, width = 150.0, 1080.0
    logs = [math.log10(max(v, 1e-3)) for v in values]
    low, high = min(logs), max(max(logs), min(logs) + 0.3)
    bins = min(60, max(8, int(len(values) ** 0.5)))
    counts = [0] * bins
    for v in logs:
        counts[min(int((v - low) / (high - low) * bins), bins - 1)] += 1
    x, y = Scale(low, high, 10, width - 10), Scale(0, max(counts), floor, 34)
    drawn = []
    for i, count in enumerate(counts):
        start, end = (x(low + (high - low) * j / bins) for j in (i, i + 1))
        edges = " to ".join(write(10 ** (low + (high - low) * j / bins)) for j in (i, i + 1))
        tip = tag("title", f"{count:,} between {edges}")
        drawn.append(
            tag(
                "rect",
                tip,
                x=start + 0.5,
                y=y(count),
                width=end - start - 1,
                height=floor - y(count),
                class_="f-blue",
            )
        )
    drawn.append(path([(x.start, floor), (x.end, floor)], "axis"))
    round_values = [m * 10**e for e in range(-3, 8) for m in (1, 2, 5) if low <= math.log10(m * 10**e) <= high]
    drawn += [words(x(math.log10(v)), floor + 17, write(v), "soft small", "middle") for v in round_values]
    for row, (value, name) in enumerate(marks):  # each on a line of its own, for marks may lie close
        at = x(math.log10(max(value, 1e-3)))
        drawn.append(path([(at, floor), (at, 2.0 + 13 * row)], "axis l-ink"))
        side = "end" if at > width * 0.8 else None
        drawn.append(words(at + (-6 if side else 6), 10 + 13 * row, name, "bold halo", side))
    return picture(width, floor + 26, label, *drawn, wide=True)
