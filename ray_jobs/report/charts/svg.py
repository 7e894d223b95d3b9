"""How do numbers become places on a page, and text become safe?

`tag` escapes every plain string it is given, so no text of a stranger can become markup; `Scale`, `ticks`
and `thin` turn data into coordinates. No dependency, no script: a picture is a string that a browser draws
in either theme.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.readable import visible

VIRIDIS = ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725")


class Html(str):
    """Markup that is safe to insert; every other string is escaped."""

    __slots__ = ()


def text(value: object) -> Html:
    """Escape a value for use as text or attribute; control and direction characters become visible."""
    return Html(html.escape(visible(value), quote=True))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Return an element; `class_` and `stroke_width` become class and stroke-width, None is left out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_number(item) if isinstance(item, float) else item)}"'
        for key, item in attributes.items()
        if item is not None
    )
    inside = "".join(child if isinstance(child, Html) else text(child) for child in children if child is not None)
    return Html(f"<{name}{written}>{inside}</{name}>")


def joined(parts: Sequence[str | None]) -> Html:
    """Join pieces of markup; plain strings are escaped."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts if part))


def picture(width: float, height: float, label: str, *children: object, wide: bool = False) -> Html:
    """Return an SVG element that scales with its column and tells a screen reader what it shows."""
    box, look = f"0 0 {_number(width)} {_number(height)}", "wide" if wide else None
    return tag("svg", tag("title", label), *children, viewBox=box, role="img", class_=look)


def words(x: float, y: float, content: object, look: str = "", anchor: str | None = None, **more: object) -> Html:
    """Return SVG text."""
    return tag("text", content, x=float(x), y=float(y), class_=look or None, text_anchor=anchor, **more)


def path(points: Sequence[tuple[float, float]], look: str, tip: str | None = None) -> Html:
    """Return a line through points, with a tooltip."""
    drawn = "M" + "L".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return tag("path", tag("title", tip) if tip else None, d=drawn, class_=look)


@dataclass(frozen=True)
class Scale:
    """A straight map from [low, high] to [start, end] pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values within [low, high], about `count` of them.

    >>> ticks(0.3, 9.7, 5)
    [2.0, 4.0, 6.0, 8.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def thin(x: Sequence[float], y: Sequence[float], buckets: int) -> list[tuple[float, float]]:
    """Keep the lowest and highest point of each of `buckets` stretches, so that no spike is lost."""
    points = list(zip(x, y, strict=True))
    if len(points) <= 2 * buckets:
        return points
    kept: list[tuple[float, float]] = [points[0]]
    for i in range(buckets):
        part = points[i * len(points) // buckets : (i + 1) * len(points) // buckets]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, points[-1]]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart to at least `gap`, in order, within [low, high] as far as there is room."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved, last = list(places), low - gap
    for i in order:
        moved[i] = last = max(places[i], last + gap)
    last = high + gap
    for i in reversed(order):
        moved[i] = last = min(moved[i], last - gap)
    return moved


def viridis(share: float) -> str:
    """Return the colour of a share in [0, 1] of the viridis map (Smith, van der Walt 2015), as #rrggbb."""
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    i = min(int(place), len(VIRIDIS) - 2)
    pairs = ((int(VIRIDIS[i][c : c + 2], 16), int(VIRIDIS[i + 1][c : c + 2], 16)) for c in (0, 2, 4))
    return "#" + "".join(f"{round(a + (b - a) * (place - i)):02x}" for a, b in pairs)


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
