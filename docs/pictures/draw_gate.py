"""Draw gate.svg from what `python -m benchmarks gate` found: `python docs/pictures/draw_gate.py RESULTS.json`.

Left: how often a champion is ever replaced by what is no better, over the asks. Middle: how many fresh documents show a
gain. Right: what old text has lost after 200 champions that each lost a little.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WIDTH, HEIGHT, TOP, BOTTOM, PANEL = 990, 362, 50, 280, 250
LEFTS = (60, 390, 720)
FAMILIES = {
    "demo": "rare gains (demo)",
    "mirrored": "rare harm",
    "t3": "Student's t, 3",
    "lognormal .5": "lognormal .5",
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
STYLE = """text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:13px}.m{fill:#777}
.g{stroke:#ddd}.a{stroke:#777}
@media(prefers-color-scheme:dark){text{fill:#ddd}.m{fill:#999}.g{stroke:#444}.a{stroke:#999}}"""
Point = tuple[float, float]
Place = Callable[[float], float]


def main(results: str) -> None:
    """Read the rows, draw three panels."""
    rows = json.loads(Path(results).read_text(encoding="utf-8"))["benchmarks"]["gate"]["rows"]
    found = {row["what"]: row for row in rows}
    parts = [*promotions(found), *documents(found), *losses(found)]
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="what the gate keeps and sees"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    (HERE / "gate.svg").write_text(
        "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n", encoding="utf-8"
    )


def promotions(found: dict[str, Any]) -> list[str]:
    """P(ever promoted) over the asks: ours in full lines, a plain t at 5 % each time dashed."""
    left, asks = LEFTS[0], (1, 10, 30, 100)
    x, y = log(1, 100, left, left + PANEL), linear(0, 1, BOTTOM, TOP)
    parts = frame(
        left,
        "no better, yet promoted, ever",
        [(x(k), str(k)) for k in asks],
        "asks",
        [(y(v), f"{v:.0%}") for v in (0, 0.25, 0.5, 0.75, 1)],
    )
    for colour, family in zip(COLOURS, FAMILIES, strict=True):
        cells = [found[f"ever promoted, none better: {family}, 25 documents × {k} asks"] for k in asks]
        parts.append(line([(x(k), y(cell["ours"][0])) for k, cell in zip(asks, cells, strict=True)], colour))
        parts.append(
            line([(x(k), y(cell["against"][0])) for k, cell in zip(asks, cells, strict=True)], colour, dashed=True)
        )
    parts.append(
        f'<line class="a" x1="{left}" x2="{left + PANEL}" y1="{y(0.05)}" y2="{y(0.05)}" stroke-dasharray="1 3"/>'
    )
    parts.append(words(left + 92, y(0.08), "this gate stays at 5 %"))
    parts.append(words(left + 8, y(0.93), "dashed: a plain t, each time"))
    for n, (colour, said) in enumerate(zip(COLOURS, FAMILIES.values(), strict=True)):
        parts.append(words(left + 145 * (n % 2), HEIGHT - 22 + 16 * (n // 2), f"— {said}", colour=colour))
    return parts


def documents(found: dict[str, Any]) -> list[str]:
    """Fresh documents for a chance of 80 %, over the asks, at a deviation of 0.05 and 0.114 bits a byte."""
    left, asks = LEFTS[1], (1, 3, 10, 30)
    x, y = log(1, 30, left, left + PANEL), log(50, 10_000, BOTTOM, TOP)
    marks = [(y(v), f"{v:,}") for v in (100, 1_000, 10_000)]
    parts = frame(
        left, "fresh documents that show a gain", [(x(k), str(k)) for k in asks], "the how-manieth ask", marks
    )
    for colour, (effect, deviation) in zip(
        COLOURS, ((0.02, 0.05), (0.01, 0.05), (0.02, 0.114), (0.01, 0.114)), strict=True
    ):
        row = found[f"documents for 80 %: better by {effect}, deviation {deviation}, asks 1, 3, 10, 30"]
        places = [(x(k), y(n)) for k, n in zip(asks, row["ours"], strict=True)]
        at, below = places[2], (effect, deviation) == (0.01, 0.05)  # two of the lines are close to each other
        said = words(at[0], at[1] + (20 if below else -14), f"{effect} better, ±{deviation}", middle=True, colour=colour)
        parts += [line(places, colour), said]
    return parts


def losses(found: dict[str, Any]) -> list[str]:
    """Margins that old text lost after 200 eras, with and without the drift reference."""
    left, y = LEFTS[2], log(1, 200, BOTTOM, TOP)
    rows = [
        (float(m[1]), row) for what, row in found.items() if (m := re.match(r"lost of .* of ([\d.]+) margins", what))
    ]
    x = linear(0, len(rows), left, left + PANEL)
    ticks = [(x(n + 0.5), f"{loss} each") for n, (loss, _) in enumerate(rows)]
    parts = frame(
        left, "old text lost after 200 champions", ticks, "margins", [(y(v), str(v)) for v in (1, 3, 10, 100)]
    )
    for n, (_, row) in enumerate(rows):
        for k, (values, colour) in enumerate(((row["ours"], COLOURS[0]), (row["against"], COLOURS[1]))):
            at, value = x(n + 0.24 + 0.28 * k), sorted(values)[len(values) // 2]
            parts.append(
                f'<rect x="{at:.1f}" y="{y(value):.1f}" width="20" height="{BOTTOM - y(value):.1f}" fill="{colour}"/>'
            )
            parts.append(words(at + 10, y(value) - 5, f"{value:.3g}", middle=True))
    key = zip(
        (TOP + 4, TOP + 20), ("held to a drift reference", "to the last champion alone"), COLOURS[:2], strict=True
    )
    return [*parts, *(words(left + 8, at, f"— {said}", colour=colour) for at, said, colour in key)]


def frame(
    left: float, title: str, x: Sequence[tuple[float, str]], name: str, y: Sequence[tuple[float, str]]
) -> list[str]:
    """Title, grid, and what stands at the axes."""
    grid = [f'<line class="g" x1="{left}" x2="{left + PANEL}" y1="{at:.1f}" y2="{at:.1f}"/>' for at, _ in y]
    beside = [f'<text class="m" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{said}</text>' for at, said in y]
    below = [words(at, BOTTOM + 18, said, "m", middle=True) for at, said in x]
    axis = f'<line class="a" x1="{left}" x2="{left + PANEL}" y1="{BOTTOM}" y2="{BOTTOM}"/>'
    return [
        words(left, 24, title, "t"),
        *grid,
        axis,
        *beside,
        *below,
        words(left + PANEL / 2, BOTTOM + 38, name, "m", middle=True),
    ]


def line(points: Sequence[Point], colour: str, *, dashed: bool = False) -> str:
    """A line through the points, with dots at them."""
    dash = ' stroke-dasharray="4 4" opacity=".55"' if dashed else ""
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "" if dashed else "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>{dots}'


def words(x: float, y: float, said: str, look: str = "", *, middle: bool = False, colour: str = "") -> str:
    """Words at a place."""
    anchor = ' text-anchor="middle"' if middle else ""
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}"{anchor}{style}>{said}</text>'


def linear(low: float, high: float, start: float, end: float) -> Place:
    """From values to places."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def log(low: float, high: float, start: float, end: float) -> Place:
    """From values to places, by their logarithms."""
    return lambda value: linear(math.log(low), math.log(high), start, end)(math.log(value))


if __name__ == "__main__":
    main(sys.argv[1])
