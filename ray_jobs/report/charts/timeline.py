"""When did the run start, stop, go on and promote?

Events in lanes over time: faults, notes, resumes and promotions say in words what they were as far as there is
room, and in a tooltip always; checkpoints are ticks.
"""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ray_jobs.report.charts.svg import Html, Scale, joined, path, picture, tag, words

KINDS = {
    "start": "ink",
    "resume": "blue",
    "checkpoint": "grey",
    "fault": "red",
    "skip": "orange",
    "note": "orange",
    "promote": "green",
}
LANES = (("fault", "skip"), ("note",), ("start", "resume"), ("checkpoint",), ("promote",))
LANE_NAMES = ("faults", "notes", "starts and resumes", "checkpoints", "judgements")


@dataclass(frozen=True)
class Moment:
    """Something on the time line: unix seconds, a key of KINDS, and what it was."""

    time: float
    kind: str
    text: str


def timeline(events: Sequence[Moment], *, label: str) -> Html:
    """Draw events in lanes."""
    lanes = [i for i, kinds in enumerate(LANES) if any(e.kind in kinds for e in events)]
    width, top = 1080.0, 10.0
    times = [e.time for e in events]
    x = Scale(min(times), max(times) if max(times) > min(times) else min(times) + 1, 140, width - 20)
    drawn: list[Html] = []
    for lane in lanes:
        mine = sorted((e for e in events if e.kind in LANES[lane]), key=lambda e: e.time)
        rows = [] if LANES[lane] == ("checkpoint",) else _rows(mine, x, width)
        middle = top + 13
        drawn.append(words(0, middle + 4, f"{LANE_NAMES[lane]} {len(mine)}", "soft small"))
        drawn.append(path([(x.start, middle), (x.end, middle)], "grid"))
        for i, event in enumerate(mine):
            drawn.append(_event(event, x(event.time), middle, rows[i] if rows else None, width))
        top += 30 + 14 * (max((r for r in rows if r is not None), default=-1) + 1)
    return picture(width, top + 24, label, *drawn, *_clock(x, top), wide=True)


def _rows(events: Sequence[Moment], x: Scale, width: float) -> list[int | None]:
    """Give each text a row below its lane where it touches no other; None where all five are full."""
    ends = [-1.0] * 5
    rows: list[int | None] = []
    for event in events:
        length = 6.3 * len(_clip(event.text)) + 12
        start = min(x(event.time), width - length)
        row = next((i for i, end in enumerate(ends) if end <= start), None)
        if row is not None:
            ends[row] = start + length
        rows.append(row)
    return rows


def _event(event: Moment, at: float, middle: float, row: int | None, width: float) -> Html:
    colour = KINDS.get(event.kind, "ink")
    tip = tag("title", f"{clock(float(event.time))} {event.kind}: {event.text}")
    if event.kind == "checkpoint":
        return tag("path", tip, d=f"M{at:.1f},{middle - 6:.1f}v12", class_="axis l-grey")
    mark = tag("circle", tip, cx=at, cy=middle, r=4.5, class_=f"f-{colour}")
    if event.kind == "fault":
        mark = tag("path", tip, d=f"M{at - 4:.1f},{middle - 4:.1f}l8,8m0,-8l-8,8", class_="thick l-red")
    if row is None:
        return mark
    said = _clip(event.text)
    start = min(at - 4, width - 6.3 * len(said))
    return joined([mark, words(start, middle + 19 + 14 * row, said, f"small f-{colour}")])


def _clock(x: Scale, top: float) -> list[Html]:
    span = x.high - x.low
    steps = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000)
    step = next((s for s in steps if span / s <= 9), steps[-1])
    drawn = [path([(x.start, top), (x.end, top)], "axis")]
    places = range(math.ceil(x.low / step) * step, math.floor(x.high) + 1, step)
    for value in places:
        written = clock(value, "%d %b" if step >= 86400 else "%H:%M:%S" if step < 60 else "%H:%M")
        drawn.append(path([(x(value), top), (x(value), top + 4)], "axis"))
        drawn.append(words(x(value), top + 17, written, "soft small", "middle"))
    drawn.append(words(0, top + 17, f"{clock(x.low, '%d %b %Y')} UTC", "soft small"))
    return drawn


def clock(seconds: float, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """Write a moment given in unix seconds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime(form)


def _clip(said: object, length: int = 60) -> str:
    plain = str(said)
    return plain if len(plain) <= length else plain[: length - 1] + "…"
