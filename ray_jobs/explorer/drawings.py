"""How do outcomes look over time, over lengths, and as one bar?

Every chart stacks outcomes in one order and one set of colours, so that a legend is needed once.
"""

from collections.abc import Callable, Mapping, Sequence

from cluster.readable import short, whole
from data_ops.survey.corpus import OUTCOMES
from ray_jobs.explorer.figures import Counts
from ray_jobs.report.charts.svg import Html, Scale, path, picture, tag, ticks, words

WORDS: Mapping[str, str] = {
    "trained": "trained",
    "pending": "waiting",
    "held_out": "held out",
    "shed": "passed over",
    "skipped": "in skipped steps",
    "dropped": "dropped",
    "quarantined": "quarantined",
    "forgotten": "forgotten",
}

FLOOR = 200.0  # of a chart of columns


def legend(outcomes: Counts) -> Html:
    """The colour of each outcome that occurs, with its word."""
    names = (tag("span", tag("i", class_=f"swatch o-{name}"), f" {WORDS[name]}") for name in outcomes)
    return tag("p", *names, class_="legend")


def outcome_bar(outcomes: Counts, whole_records: int) -> Html:
    """One bar as long as its share of `whole_records`, cut by outcome."""
    x, at = Scale(0, max(whole_records, 1), 0, 300), 0.0
    parts = []
    for name in (name for name in OUTCOMES if outcomes.get(name)):
        tip = tag("title", f"{WORDS[name]}: {whole(outcomes[name])}")
        width = max(x(at + outcomes[name]) - x(at), 0.6)
        parts.append(tag("rect", tip, x=x(at), y=0.0, width=width, height=14.0, class_=f"o-{name}"))
        at += outcomes[name]
    label = ", ".join(f"{WORDS[name]} {whole(number)}" for name, number in outcomes.items())
    return tag(
        "svg", tag("title", label), *parts, viewBox="0 0 300 14", role="img", class_="bar", preserveAspectRatio="none"
    )


def columns(bars: Sequence[tuple[str, Counts]], width: float, name_of: Callable[[int], str], *, label: str) -> Html:
    """Draw a column for each bar, stacked by outcome; name_of: what stands below a bar, or nothing."""
    most = max((sum(counts.values()) for _, counts in bars), default=1)
    y = Scale(0, most, FLOOR, 12)
    marks = [value for value in ticks(0, most, 4) if value >= 1]
    left = 14 + 6.6 * max([len(short(value)) for value in marks] or [1])
    x = Scale(0, max(len(bars), 1), left, width - 4)
    drawn = [path([(left, y(value)), (width - 4, y(value))], "grid") for value in marks]
    drawn += [words(left - 6, y(value) + 4, short(value), "soft small", "end") for value in marks]
    wide = max(min(x(1) - x(0) - 1, 60.0), 0.8)
    for place, (name, counts) in enumerate(bars):
        middle = (x(place) + x(place + 1)) / 2
        drawn.append(_column(name, counts, (middle - wide / 2, wide), y))
        if below := name_of(place):
            is_last = middle > width - 24
            at, anchor = (width, "end") if is_last else (middle, "middle")
            drawn.append(words(at, FLOOR + 17, below, "soft small", anchor))
    drawn.append(path([(left, FLOOR), (width - 4, FLOOR)], "axis"))
    return picture(width, FLOOR + 30, label, *drawn, wide=width > 700)


def _column(name: str, counts: Counts, place: tuple[float, float], y: Scale) -> Html:
    """One column; place: its left edge and width."""
    parts, at = [], 0
    for outcome in (outcome for outcome in OUTCOMES if counts.get(outcome)):
        top = y(at + counts[outcome])
        high = max(y(at) - top, 0.3)
        parts.append(tag("rect", x=place[0], y=top, width=place[1], height=high, class_=f"o-{outcome}"))
        at += counts[outcome]
    told = ", ".join(f"{WORDS[outcome]} {whole(number)}" for outcome, number in counts.items())
    return tag("g", tag("title", f"{name}: {told}"), *parts)
