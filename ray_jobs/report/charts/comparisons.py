"""How do slices, sources, ages and counts look beside each other?

The bounds of each slice around zero and the margin; stacked bars; and the way from read documents to trained
ones, each loss with its reason. Everything is drawn to one scale, so lengths can be compared by eye.
"""

import math
from collections.abc import Mapping, Sequence

from cluster.readable import many, short, signed, whole
from ray_jobs.evaluation.decision import SliceRow
from ray_jobs.report.charts.svg import Html, Scale, joined, path, picture, tag, ticks, words

VERDICTS = {"better": "green", "within": "blue", "worse": "red", "unclear": "grey"}


def forest(slices: Sequence[SliceRow], margin: float, *, label: str) -> Html:
    """Draw each slice's difference with its bounds, around zero and the margin (bits per byte)."""
    width, row, top = 1080.0, 20.0, 26.0
    old = [s for s in slices if s["role"] == "old"] or slices
    edges = sorted(abs(v) for s in old for v in (s["low"], s["high"]) if v is not None) or [margin]
    reach = max(edges[int(0.97 * (len(edges) - 1))] * 1.25, margin * 1.8, 1e-4)
    low, high = -reach, reach
    names = 30 + 6.6 * min(max(len(str(s["name"])) for s in slices), 34)
    x, floor = Scale(low, high, names, width - 250), top + row * len(slices)
    drawn = [
        tag(
            "rect",
            x=x(margin),
            y=top - 4,
            width=max(x.end - x(margin), 0.1),
            height=floor - top + 4,
            class_="wash",
        )
    ]
    for value in ticks(low, high, 6):
        drawn += [
            path([(x(value), top - 4), (x(value), floor)], "grid"),
            words(x(value), floor + 16, signed(value, 3), "soft small", "middle"),
        ]
    drawn += [
        path([(x(0.0), top - 4), (x(0.0), floor)], "axis"),
        path([(x(margin), top - 4), (x(margin), floor)], "axis dash l-red"),
    ]
    drawn += [
        words(x(0.0) - 6, 12, "better ←", "soft small", "end"),
        words(x(margin) + 5, 12, f"over the margin {signed(margin)}", "small f-red"),
    ]
    drawn += [_whisker(s, x, top + row * (i + 0.5)) for i, s in enumerate(slices)]
    return picture(width, floor + 24, label, *drawn, wide=True)


def _whisker(s: SliceRow, x: Scale, y: float) -> Html:
    """Draw one slice; what lies beyond the axis is an arrow at its edge, and the figures beside it tell."""
    colour = VERDICTS.get(str(s["verdict"]), "grey")
    difference = s["difference"] or 0.0
    low, middle, high = (
        min(max(x(v if v is not None else beyond), x.start), x.end)
        for v, beyond in ((s["low"], x.low), (difference, 0.0), (s["high"], x.high))
    )
    figures = f"{signed(difference, 4)} [{signed(s['low'], 4)}, {signed(s['high'], 4)}]"
    tip = f"{s['name']}: {figures} {s.get('unit', 'bits/byte')} over {many(s['documents'], 'document')}, {s['verdict']}"
    mark = tag("circle", tag("title", tip), cx=middle, cy=y, r=4.0, class_=f"f-{colour}")
    if not x.low <= difference <= x.high:
        turn = -8 if middle == x.start else 8
        shape = f"M{middle - turn:.1f},{y - 5:.1f}l{turn},5l{-turn},5z"
        mark = tag("path", tag("title", tip), d=shape, class_=f"f-{colour}")
    name = str(s["name"]) if len(str(s["name"])) <= 34 else str(s["name"])[:33] + "…"
    return joined(
        [
            words(x.start - 14, y + 4, name, "bold" if s["role"] == "fresh" else "", "end"),
            path([(low, y), (high, y)], f"thick l-{colour}", tip) if high > low else None,
            mark,
            words(x.end + 14, y + 4, figures, "small"),
            words(x.end + 190, y + 4, s["verdict"], f"small bold f-{colour}"),
        ]
    )


def age_bars(
    edges: Sequence[float],
    stacks: Mapping[str, Sequence[float]],
    ideal: Mapping[str, Sequence[float]],
    units: tuple[str, str],
    *,
    label: str,
) -> Html:
    """Draw stacked counts per age bin, with the shape that an ideal decay would give as a line over them.

    units: of the edges (years), and of what is counted (documents).
    """
    time_unit, unit = units
    width, height, bins = 700.0, 280.0, len(edges) - 1
    totals = [sum(stack[i] for stack in stacks.values()) for i in range(bins)]
    peak = max([*totals, *(v for curve in ideal.values() for v in curve), 1e-9])
    y, x = Scale(0, peak * 1.08, height - 44, 14), Scale(0, bins, 52, width - 26)
    drawn: list[Html] = []
    for value in ticks(0, peak, 4):
        drawn += [
            path([(52, y(value)), (width - 26, y(value))], "grid"),
            words(46, y(value) + 4, short(value), "soft small", "end"),
        ]
    for i in range(bins):
        at = 0.0
        for (name, stack), colour in zip(stacks.items(), ("orange", "blue"), strict=False):
            tip = tag(
                "title", f"{name}, {_age(edges[i])} to {_age(edges[i + 1])} {time_unit} old: {short(stack[i])} {unit}"
            )
            drawn.append(
                tag(
                    "rect",
                    tip,
                    x=x(i + 0.08),
                    y=y(at + stack[i]),
                    width=x(0.84) - x(0),
                    height=y(at) - y(at + stack[i]),
                    class_=f"f-{colour}",
                )
            )
            at += stack[i]
    every = max(1, math.ceil(bins / 14))
    drawn += [words(x(i), height - 27, _age(edges[i]), "soft small", "middle") for i in range(0, bins + 1, every)]
    drawn += [
        path([(52, y(0)), (width - 26, y(0))], "axis"),
        words(width - 26, height - 8, f"age of the text when trained, in {time_unit}", "soft small", "end"),
    ]
    for dash, (name, curve) in zip(("", " dash", " dash"), ideal.items(), strict=False):
        drawn.append(path([(x(i + 0.5), y(v)) for i, v in enumerate(curve)], f"thick l-ink{dash}", name))
    return picture(width, height, label, *drawn)


def _age(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def stacked_bars(names: Sequence[str], stacks: Mapping[str, Sequence[float]], *, label: str) -> Html:
    """Draw one horizontal bar a name, cut into the stacks, with its total."""
    totals = [sum(stack[i] for stack in stacks.values()) for i in range(len(names))]
    x, width = Scale(0, max([*totals, 1e-9]), 0, 290), 370.0
    drawn: list[Html] = []
    for i, name in enumerate(names):
        y, at = 14 + 44.0 * i, 0.0
        drawn.append(words(0, y, name, "bold"))
        for (kind, stack), colour in zip(stacks.items(), ("orange", "blue"), strict=False):
            tip = tag("title", f"{name}, {kind}: {short(stack[i])}")
            drawn.append(
                tag(
                    "rect",
                    tip,
                    x=x(at),
                    y=y + 7,
                    width=x(at + stack[i]) - x(at),
                    height=14.0,
                    class_=f"f-{colour}",
                )
            )
            at += stack[i]
        drawn.append(words(x(at) + 8, y + 18, short(at), "soft small"))
    return picture(width, 20 + 44 * len(names), label, *drawn)


def waterfall(steps: Sequence[tuple[str, float, str]], *, label: str) -> Html:
    """Draw how a count shrinks: steps (name, amount, kind), kind total, loss, loss-bad, loss-kept or rest."""
    width, row = 1080.0, 25.0
    x, at = Scale(0, max(max(s[1] for s in steps), 1), 210, width - 190), 0.0
    drawn: list[Html] = []
    for i, (name, amount, kind) in enumerate(steps):
        y, before = row * i + 4, at
        at = at - amount if kind.startswith("loss") else amount
        low, high = (at, before) if kind.startswith("loss") else (0.0, amount)
        colour = {"total": "ink", "rest": "blue", "loss": "grey", "loss-bad": "red", "loss-kept": "green"}[kind]
        part = f"{amount / max(steps[0][1], 1):.1%}".replace("%", " %")
        drawn += [
            words(200, y + 14, name, "bold" if kind in ("total", "rest") else "", "end"),
            tag(
                "rect",
                tag("title", f"{name}: {many(amount, 'document')}, {part}"),
                x=x(low),
                y=y + 2,
                width=max(x(high) - x(low), 1.0),
                height=16.0,
                class_=f"f-{colour}",
            ),
            words(
                x(high) + 8,
                y + 14,
                f"{'−' if kind.startswith('loss') else ''}{whole(amount)}",
                "bold small" if kind in ("total", "rest") else "small",
            ),
            words(width, y + 14, part, "soft small", "end"),
        ]
        if i + 1 < len(steps):
            drawn.append(path([(x(at), y + 18), (x(at), y + row + 2)], "grid"))
    return picture(width, row * len(steps) + 8, label, *drawn, wide=True)
